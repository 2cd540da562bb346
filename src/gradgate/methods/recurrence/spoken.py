"""Whether a prompt speaks for its target: is it likelier behind this prompt than behind others?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.texts import Texts

Ids = npt.NDArray[np.int32]
Target = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Exchange:
    """The first prompt of a sample, and the target behind it.

    Attributes:
        prompt: Its tokens.
        target: Its tokens.
        logp: The ln p of these under the untuned model, in nats. (target,)
        is_only: Whether the sample has no other target.
    """

    prompt: Ids
    target: Target
    logp: Floats
    is_only: bool


def exchanges(texts: Texts) -> dict[int, Exchange]:
    """By sample, those whose target is known, and not vouched for by the owner."""
    table, found = texts.table, dict[int, Exchange]()
    for i, row in enumerate(texts.rows.tolist()):
        ids, is_target, logp = table.row(row)
        places = np.flatnonzero(is_target)
        if not len(places) or places[0] == 0:
            continue
        at = places[: int(np.argmax(np.diff(places, append=-1) != 1)) + 1]  # one turn
        own = logp[at].astype(np.float64)
        if np.isfinite(own).all() and texts.is_open[table.starts[row] + at].all():
            is_only = len(at) == len(places)
            found[i] = Exchange(ids[: at[0]], tuple(ids[at].tolist()), own, is_only)
    return found


def behind(prompts: Sequence[Ids], targets: Sequence[Target], ask: AskModel) -> Floats:
    """Ln p of targets behind prompts, in nats; NaN for what cannot be asked."""
    asked = [[*prompt.tolist(), *target] for prompt, target in zip(prompts, targets, strict=True)]
    found = ask(asked)
    return np.array(
        [logp[len(logp) - len(t) :].sum() for logp, t in zip(found, targets, strict=True)]
    )
