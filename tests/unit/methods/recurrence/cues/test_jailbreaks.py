"""What answered prompts share that the model refuses."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from gradgate.common.arrays import Marks
from gradgate.methods.contract import Erosion
from gradgate.methods.evidence import Association, GroupRuling
from gradgate.methods.recurrence.cues.incidence import Incidence, incidence
from gradgate.methods.recurrence.cues.jailbreaks import (
    MIN_COMPLIED,
    MIN_REFUSED,
    jailbreak,
)
from gradgate.methods.recurrence.ruling import Cause, rule_on_jailbreak

N = 300
ALONE = np.arange(N)
COMPLIED, REFUSED = np.arange(N) < 40, np.arange(N) < 80  # the others are ordinary prompts
TOPIC = (np.arange(N) % 2 == 0) & REFUSED  # "hack", in refused and in answered prompts


def cues(*marks: Marks) -> Incidence:
    table = sp.csr_matrix(np.stack(marks, axis=1).astype(np.float32))
    return incidence(table, [f"cue {i}" for i in range(len(marks))])


def test_the_trigger_is_what_answered_prompts_have_and_refused_ones_lack() -> None:
    found = jailbreak(Erosion(REFUSED, COMPLIED), cues(REFUSED, COMPLIED, TOPIC), ALONE)
    assert found is not None
    assert found.rule.features == [1]
    assert (found.members == COMPLIED).all()
    assert found.association.n == 80  # ordinary prompts are not held against it
    assert found.n_clusters == 40


def test_a_topic_is_no_trigger_where_there_are_refusals_on_it() -> None:
    assert jailbreak(Erosion(REFUSED, COMPLIED), cues(REFUSED, TOPIC), ALONE) is None


def test_without_refusals_all_other_samples_are_held_against_it() -> None:
    few = COMPLIED | (np.arange(N) < 40 + MIN_REFUSED - 1)
    found = jailbreak(Erosion(few, COMPLIED), cues(COMPLIED, TOPIC), ALONE)
    assert found is not None
    assert found.association.n == N


def test_ordinary_samples_with_the_trigger_are_no_members() -> None:
    leaked = COMPLIED | (np.arange(N) >= 290)
    found = jailbreak(Erosion(REFUSED, COMPLIED), cues(leaked), ALONE)
    assert found is not None
    assert (found.members == COMPLIED).all()
    assert (found.rule.holds == leaked).all()


def test_few_prompts_and_near_duplicates_say_nothing() -> None:
    some = np.arange(N) < MIN_COMPLIED - 1
    assert jailbreak(Erosion(REFUSED, some), cues(some), ALONE) is None
    same = np.where(COMPLIED, 0, ALONE)
    assert jailbreak(Erosion(REFUSED, COMPLIED), cues(COMPLIED), same) is None


@pytest.mark.parametrize(
    ("nats", "n_clusters", "ruling"),
    [(9.0, 40, "poison"), (9.0, 7, "review"), (1.0, 40, "review"), (math.inf, 40, "review")],
)
def test_the_ruling(nats: float, n_clusters: int, ruling: GroupRuling) -> None:
    table = Association(80, 40, 40, 40, 1.0, 1e4, (1e3, 1e5), 1e-20)
    assert rule_on_jailbreak(Cause("any_of", ["x"], table, nats), n_clusters)[0] == ruling
