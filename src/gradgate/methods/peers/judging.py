"""From the scored rows of a run to a detection, for methods that look at all rows together."""

from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Scores
from gradgate.models.loading import LoadedModel

MIN_ROWS = 30  # fewer have no clusters or principal directions worth the name


def scored_tokens(scores: Scores) -> tuple[Ints, list[Tokens]]:
    """Positions of the rows that have a score, and their tokens."""
    assert scores.tokens is not None  # `checks.require_signals`
    at = np.flatnonzero(scores.is_scored)
    rows = [scores.tokens.row(int(i)) for i in at]
    return at, [Tokens(ids.tolist(), marks.tolist()) for ids, marks, _ in rows]


def loaded_model(scores: Scores) -> LoadedModel:
    """The untuned model.

    Raises:
        DataError: There is none.
        ModelError: It cannot be loaded.
    """
    if scores.model is None:
        raise DataError("this method sends the samples through the model, and none was given")
    return scores.model.identify().load()


def too_few(n: int, least: int) -> str:
    """Why nothing can be said of n rows."""
    return f"{n} rows have what the method looks at, fewer than the {least} that it needs"


def highest(values: Floats, n: int) -> Marks:
    """The n highest values; of equal ones the first: (m,)."""
    marks = np.zeros(len(values), bool)
    marks[np.argsort(-values, kind="stable")[:n]] = True
    return marks


def undecided(scores: Scores, because: str) -> Detection:
    """Nothing can be said of any row."""
    return Detection(
        suspicion=np.full(scores.n, np.nan),
        flagged=None,
        in_doubt=np.zeros(scores.n, bool),
        group=np.zeros(scores.n, np.int64),
        undecided_because=because,
    )


def judged(
    scores: Scores,
    at: Ints,
    suspicion: Floats,
    is_poison: Marks,
    reasons: Sequence[str],
    summary: dict[str, object],
    notes: Sequence[str],
) -> Detection:
    """What a method makes of the rows at m positions; a scored row beside these is in doubt.

    Args:
        scores: Of all rows.
        at: Positions of the judged rows. (m,)
        suspicion: Theirs. (m,)
        is_poison: Whether they are flagged. (m,)
        reasons: Why they are, or would be, flagged. m
        summary: As in `Detection`.
        notes: As in `Detection`.
    """
    everywhere = np.full(scores.n, np.nan)
    everywhere[at] = suspicion
    flagged = np.zeros(scores.n, bool)
    flagged[at] = is_poison
    in_doubt = scores.is_scored.copy()
    in_doubt[at] = False
    why = {int(at[k]): [reasons[k]] for k in np.flatnonzero(is_poison).tolist()}
    why |= {int(i): ["the model's output is not finite"] for i in np.flatnonzero(in_doubt)}
    return Detection(
        suspicion=everywhere,
        flagged=flagged,
        in_doubt=in_doubt,
        group=np.zeros(scores.n, np.int64),
        reasons=why,
        summary=summary,
        notes=list(notes),
    )
