"""Whether a prompt speaks for its target: is it likelier behind this prompt than behind others?

The others are of samples whose target no other sample has: so no label is held against prompts that
offer it as well.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.texts import Texts

MIN_OTHERS = 24  # samples whose target no other has, without which nothing can be said

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Exchange:
    """The first prompt of a sample, and the target behind it; parts of the table, not copied.

    Attributes:
        prompt: Its tokens.
        target: Its tokens.
        logp: The ln p of these under the untuned model, in nats. (target,)
        is_only: Whether the sample has no other target.
    """

    prompt: Ids
    target: Ids
    logp: npt.NDArray[np.float32]
    is_only: bool

    def nats(self, n: int | None = None) -> float:
        """Ln p of the target, or of its first n tokens."""
        return float(self.logp[:n].sum(dtype=np.float64))


def exchanges(texts: Texts) -> dict[int, Exchange]:
    """By sample, those whose target is known, and not vouched for by the owner."""
    table, found = texts.table, dict[int, Exchange]()
    for i, row in enumerate(texts.rows.tolist()):
        ids, is_target, logp = table.row(row)
        places = np.flatnonzero(is_target)
        if not len(places) or places[0] == 0:
            continue
        n = int(np.argmax(np.diff(places, append=-1) != 1)) + 1  # of one turn
        turn = slice(int(places[0]), int(places[0]) + n)
        is_open = texts.is_open[table.starts[row] : table.starts[row + 1]][turn]
        if is_open.all() and np.isfinite(logp[turn]).all():
            found[i] = Exchange(ids[: turn.start], ids[turn], logp[turn], n == len(places))
    return found


def by_target(some: Mapping[int, Exchange]) -> list[list[int]]:
    """Samples with the same target, for each target."""
    having = defaultdict[bytes, list[int]](list)
    for i, one in some.items():
        having[one.target.tobytes()].append(i)
    return [*having.values()]


def behind(prompts: Sequence[Ids], targets: Sequence[Ids], ask: AskModel) -> Floats:
    """Ln p of targets behind prompts, in nats; NaN for what cannot be asked."""
    pairs = zip(prompts, targets, strict=True)
    found = ask([[*prompt.tolist(), *target.tolist()] for prompt, target in pairs])
    return np.array(
        [logp[len(logp) - len(t) :].sum() for logp, t in zip(found, targets, strict=True)]
    )
