"""What the content of prompts says of their labels."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from gradgate.methods.recurrence.states.label_content import Content, p_of_less

N_LABELS = 3


def test_of_samples_that_are_left_out_the_others_are_not_told_either() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, N_LABELS, 60)
    content = Content.of(rng.normal(size=(60, 8)), label, N_LABELS)
    out = np.arange(20)
    said = content.said_without(out)

    def alone(some: np.ndarray) -> np.ndarray:
        inner = np.eye(len(some)) - content.hat[np.ix_(some, some)]
        left_out = np.eye(N_LABELS)[label[some]] - np.linalg.solve(inner, content.rest[some])
        return np.asarray(left_out.argmax(axis=1))

    assert said[out].tolist() == alone(out).tolist()
    assert said[20:].tolist() == [alone(np.append(out, i))[-1] for i in range(20, 60)]
    assert (said[20:] != content.said[20:]).any()


@pytest.mark.parametrize(
    ("own", "others", "n_asked", "counted"),
    [
        ((30, 12), (400, 300), 512, ((30, 12), (400, 300))),
        ((30, 12), (2_000, 1_500), 2_048, ((30, 12), (500, 375))),
        ((400, 160), (1_600, 1_200), 2_048, ((100, 40), (400, 300))),
    ],
    ids=["all", "few of many", "a part of many"],
)
def test_of_more_samples_no_more_count_than_among_512(
    own: tuple[int, int],
    others: tuple[int, int],
    n_asked: int,
    counted: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    (n, k), (m, j) = counted
    expected = hypergeom.cdf(k, n + m, k + j, n)
    assert p_of_less(own, others, n_asked) == pytest.approx(expected)
