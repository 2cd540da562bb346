"""The tables of what harmful rows are told from."""

import numpy as np
import pytest

from benchmarks.harmful import sets
from benchmarks.harmful.__main__ import (
    BASELINES,
    MATCHED_HARMFUL,
    MATCHED_LOOK_ALIKES,
    Marked,
    flagged_table,
    ranking_table,
)

OTHERS = (sets.REFUSALS, sets.SAME_BENIGN, MATCHED_LOOK_ALIKES, "c_ordinary")
HARMFUL = (sets.HARMFUL, sets.SAME_HARMFUL, MATCHED_HARMFUL)
KINDS = [*HARMFUL * 10, *OTHERS * 10]


def marked(suspicion: list[float]) -> Marked:
    """A method that flags what is above one half."""
    values = np.array(suspicion)
    return Marked(values, values > 0.5, np.zeros(len(values), bool), "fail")


TELLS = marked([float(kind in HARMFUL) for kind in KINDS])
KNOWS_NOTHING = marked([0.0] * len(KINDS))


def test_what_is_flagged_is_counted_by_kind() -> None:
    lines = list(flagged_table(KINDS, {"compliance": TELLS}))
    assert any(line.startswith(f"| {sets.HARMFUL} | 10 | 1.000 [") for line in lines)
    assert any(line.startswith(f"| {sets.REFUSALS} | 10 | 0.000 [") for line in lines)


@pytest.mark.parametrize("baselines", [(), ("length",), BASELINES])
def test_a_method_is_held_against_the_baselines_that_were_run(baselines: tuple[str, ...]) -> None:
    found = {"compliance": TELLS, **dict.fromkeys(baselines, KNOWS_NOTHING)}
    lines = list(ranking_table(KINDS, found))
    assert sum("minus that of the best baseline" in line for line in lines) == 4 * bool(baselines)
    assert all("+0.500 [+0.500, +0.500]" in line for line in lines if "minus" in line)
    assert "1.000 [1.000, 1.000]" in next(line for line in lines if "| compliance" in line)
