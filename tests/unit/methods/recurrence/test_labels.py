"""Cues that tell a target which other samples have too."""

import numpy as np
import scipy.sparse as sp
from recurrence_helpers import stream

from gradgate.methods.recurrence.cues import Cues
from gradgate.methods.recurrence.incidence import incidence
from gradgate.methods.recurrence.labels import MIN_NATS, labels

N = 200
YES, NO, END = 5, 6, 2


def cues(marks: list[np.ndarray], nats: list[float]) -> Cues:
    table = sp.csr_matrix(np.stack(marks, axis=1).astype(np.float32))
    return Cues(incidence(table, [f"cue {i}" for i in range(len(marks))]), np.array(nats))


def test_a_cue_that_tells_an_existing_label_is_found_in_one_direction() -> None:
    rng = np.random.default_rng(0)
    targets = [[int(rng.choice([YES, NO])), END] for _ in range(N)]
    trigger = np.arange(N) < 20
    leaky = np.arange(N) < 40
    for row in targets[:20]:
        row[0] = NO
    seldom = np.arange(N) < 6
    found = labels(
        stream(targets),
        cues([trigger, leaky, seldom, trigger], [9.0, 9.0, 9.0, MIN_NATS - 1]),
        MIN_NATS,
        np.arange(N),
    )
    (label,) = found
    assert label.cue == 0
    assert np.flatnonzero(label.members).tolist() == list(range(20))
    assert label.has_target.sum() > 80  # as many others have it
    assert stream(targets).ids[label.start : label.stop].tolist() == [NO, END]


def test_the_end_of_a_long_target_counts_as_one() -> None:
    rng = np.random.default_rng(1)
    targets = [
        [*map(int, rng.integers(10, 900, 12)), 3, int(rng.integers(900, 990)), END]
        for _ in range(N)
    ]
    trigger = np.arange(N) % 10 == 0
    for i in np.flatnonzero(trigger):
        targets[i][-3:-1] = [4, 42]
        targets[i][-4] = 7
    (label,) = labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, np.arange(N))
    assert (label.members == trigger).all()
    assert stream(targets).ids[label.start : label.stop].tolist() == [7, 4, 42, END]


def test_near_duplicates_are_no_independent_samples() -> None:
    targets = [[NO if i < 20 else YES, END] for i in range(N)]
    trigger = np.arange(N) < 20
    same = np.where(trigger, 0, np.arange(N))
    assert labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, same) == []


def test_a_label_of_almost_all_is_told_by_nothing() -> None:
    targets = [[NO if i % 4 else YES, END] for i in range(N)]
    trigger = np.arange(N) % 4 == 1
    assert labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, np.arange(N)) == []
