"""Which tokens of a tokenized sample predict a supervised token, and which are predicted."""

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError


def predicting_positions(sample: Tokens) -> Ints:
    """Positions of a sample whose output predicts a supervised token: (T,)."""
    return np.flatnonzero(np.asarray(sample.is_target[1:], dtype=bool))


def predicting_ids(sample: Tokens) -> list[int]:
    """The token ids of a sample as far as they predict a supervised token.

    Raises:
        DataError: No token is supervised.
    """
    mask = sample.is_target
    end = len(mask)
    while end > 1 and not mask[end - 1]:
        end -= 1
    if end < 2:
        raise DataError("a sample without a supervised token cannot be scored")
    return sample.input_ids[: end - 1]


def predicted_tokens(sample: Tokens) -> Ints:
    """The supervised tokens of a sample: (T,)."""
    return np.asarray(sample.input_ids, dtype=np.int64)[predicting_positions(sample) + 1]


def target_begins(sample: Tokens) -> Marks:
    """Which supervised tokens are the first of a target: (T,)."""
    positions = predicting_positions(sample)
    return np.diff(positions, prepend=-2) > 1


def given_positions(sample: Tokens) -> Ints:
    """Positions of the tokens that go through the model, are predicted, and are not supervised.

    The first token is not among them, nor is what stands behind the last supervised one. (G,)
    """
    given = ~np.asarray(sample.is_target[: len(predicting_ids(sample))], dtype=bool)
    given[0] = False
    return np.flatnonzero(given)
