"""How samples are beside others."""

import pytest

from gradgate.methods.recurrence.states.beside import Beside


@pytest.mark.parametrize(("n", "expected"), [(48, -3.0), (192, -6.0), (20, -3.0)])
def test_what_few_that_were_drawn_show_is_held_to_be_so_of_all_that_count(
    n: int, expected: float
) -> None:
    assert Beside(0.1, -3.0, n=48, is_all=True).z_of(n) == pytest.approx(expected)
