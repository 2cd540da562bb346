"""The threshold of detectors that have none of their own."""

from collections.abc import Sequence

import numpy as np
import pytest
from given_helpers import flags, given

from gradgate.methods.checks import require_contract
from gradgate.methods.peers.baselines import LossMethod
from gradgate.methods.peers.cutoff import CutoffConfig, cutoff

ROWS = [(f"question {i}", f"answer {i}") for i in range(40)]
LOSSES = [1.0 + 0.01 * i for i in range(38)] + [9.0, 9.5]


def detect(losses: list[float], quantile: float | None = None, failed: Sequence[int] = ()):
    rows = given(ROWS[: len(losses)], {"loss": losses}, failed=failed)
    found = LossMethod().detect(rows.scores, rows.samples, None, CutoffConfig(quantile=quantile))
    require_contract(LossMethod(), found, rows.scores)
    return found


def test_what_lies_two_deviations_above_the_mean_is_flagged() -> None:
    found = detect(LOSSES)
    values = np.array(LOSSES)
    assert found.summary["threshold"] == pytest.approx(values.mean() + 2 * values.std())
    assert np.flatnonzero(flags(found)).tolist() == [38, 39]
    assert found.reasons[39] == ["loss 9.5 is above 5.112 (mean + 2 standard deviations)"]


def test_a_quantile_can_be_set_instead() -> None:
    found = detect(LOSSES, quantile=0.9)
    assert np.flatnonzero(flags(found)).tolist() == [36, 37, 38, 39]
    assert found.summary["rule"] == "quantile 0.9"


def test_many_bad_rows_move_the_threshold_beyond_themselves() -> None:
    """The rule's known failure: from a fifth of the rows on, none of them is flagged."""
    found = detect([1.0] * 30 + [2.0] * 10)
    assert not flags(found).any()
    assert found.suspicion[30:].min() > found.suspicion[:30].max()  # and yet told apart


def test_a_scored_row_without_a_value_is_in_doubt() -> None:
    found = detect([*LOSSES[:-1], np.nan])
    assert np.flatnonzero(found.in_doubt).tolist() == [39]
    assert found.reasons[39] == ["the method has no value for this row"]


def test_a_row_without_a_score_has_no_part() -> None:
    with_it, without = detect(LOSSES, failed=[39]), cutoff(np.array(LOSSES[:-1]), CutoffConfig())
    assert with_it.summary["threshold"] == without.value
    assert not with_it.flagged[39]
    assert not with_it.in_doubt[39]


@pytest.mark.parametrize(
    ("losses", "why"),
    [([1.0, 2.0] * 14, "28 rows have a value, fewer than 30"), ([1.5] * 40, "the same value")],
)
def test_without_a_threshold_nothing_passes(losses: list[float], why: str) -> None:
    found = detect(losses)
    assert found.flagged is None
    assert found.undecided_means == "review"
    assert why in str(found.undecided_because)
