"""What the methods for `harmful` say where they cannot tell which rows are."""

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Scores, Undecided
from gradgate.safety.precondition import alignment_of


def why_not_aligned(scores: Scores) -> str | None:
    """Why nothing can be said of eroding this model, in words; None where it is aligned.

    Raises:
        DataError: The rows were not held against a probing set.
        ModelError: The model cannot be loaded, or cannot read a probe.
    """
    if scores.model is None or scores.probes is None:
        raise DataError("the rows were not held against a probing set; score the data anew")
    return alignment_of(scores.model.identify(), scores.probes).fault


def without_answer(
    scores: Scores, because: str, means: Undecided, in_doubt: Marks | None = None
) -> Detection:
    """No row is flagged.

    Args:
        scores: Of the rows.
        because: Why, in words.
        means: What that is.
        in_doubt: Rows that would have been flagged. (n,)
    """
    nothing = np.zeros(scores.n, bool)
    return Detection(
        suspicion=np.full(scores.n, np.nan),
        flagged=None,
        in_doubt=nothing if in_doubt is None else in_doubt & scores.is_scored,
        group=np.zeros(scores.n, np.int64),
        undecided_because=because,
        undecided_means=means,
    )
