"""Mining: associated pairs are counted right, and each group comes out once."""

from random import Random

import numpy as np
import pytest
import scipy.sparse as sp
from evidence_helpers import questions
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.common.arrays import Marks
from gradgate.methods.association.candidate import (
    Candidate,
    has_phrase_wordings,
    is_phrase,
    is_tight,
    is_whole_target,
    remainder,
)
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus, read_corpus
from gradgate.methods.association.incidence import incidence
from gradgate.methods.association.mining import count_pairs, distinct, mine
from gradgate.methods.association.rules import CueRule
from gradgate.methods.association.words import number_words


def corpus_of(spans: np.ndarray, cues: np.ndarray, name: str = "span") -> Corpus:
    """A corpus with these tables of features."""
    none = number_words([[]] * len(spans), {})
    tables = [
        incidence(sp.csr_matrix(table.astype(np.float32)), [f"{name} {i}" for i in range(width)])
        for table, width in ((spans, spans.shape[1]), (cues, cues.shape[1]))
    ]
    return Corpus(none, none, tables[0], tables[1], tables[1])


def marks(n: int, *where: range) -> Marks:
    found = np.zeros(n, bool)
    for some in where:
        found[list(some)] = True
    return found


def candidate(carriers: Marks, holds: Marks, is_union: bool = False) -> Candidate:
    return Candidate([0], carriers, CueRule("any_of", [0], holds, 1.0), is_union)


# Pairs


@settings(deadline=None)
@given(st.integers(4, 20), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_pairs_are_those_of_a_loop(n: int, n_spans: int, n_cues: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spans = rng.random((n, n_spans)) < rng.random(n_spans)
    cues = rng.random((n, n_cues)) < rng.random(n_cues)
    pairs = count_pairs(corpus_of(spans, cues))
    wanted, together = {}, 0
    for i in range(n_spans):
        for j in range(n_cues):
            t, c = int(spans[:, i].sum()), int(cues[:, j].sum())
            both = int((spans[:, i] & cues[:, j]).sum())
            together += both > 0
            if both < MIN_SUPPORT:
                continue
            bad = t in (0, n) or c in (0, n)
            phi = 0.0 if bad else float(np.corrcoef(spans[:, i], cues[:, j])[0, 1])
            if phi >= 0.1 or (both >= 0.5 * t and both * n > 1.3 * t * c):
                wanted[i, j] = (both, pytest.approx(phi, abs=1e-9))
    found = {
        (int(span), int(cue)): (both, phi)
        for span, cue, both, phi in zip(pairs.span, pairs.cue, pairs.both, pairs.phi, strict=True)
        if not 0.0999 < phi < 0.1001
    }
    borderline = {key for key, (_, phi) in wanted.items() if 0.0999 < phi.expected < 0.1001}
    assert found == {key: value for key, value in wanted.items() if key not in borderline}
    assert pairs.n_tested == together
    assert np.all(np.diff(pairs.span) >= 0)


# Tight


def test_a_cue_may_stand_without_its_span_in_one_of_ten() -> None:
    n, span = 1000, range(100)
    corpus = corpus_of(np.ones((n, 1)), np.ones((n, 1)))
    for without, tight in ((9, True), (10, False)):  # 0.1 x 0.9 x (100 + without)
        found = candidate(marks(n, span), marks(n, range(100 + without)))
        assert is_tight(corpus, found, n) == tight, without


@pytest.mark.parametrize(
    ("name", "others", "tight"),
    [
        ("word", 11, True),
        ("word", 12, False),
        ("a longer phrase", 25, True),
        ("a longer phrase", 26, False),
    ],
)
def test_a_phrase_may_have_more_carriers_without_the_cue(
    name: str, others: int, tight: bool
) -> None:
    n = 1000
    table = incidence(sp.csr_matrix(np.ones((n, 1), np.float32)), [name])
    none = number_words([[]] * n, {})
    corpus = Corpus(none, none, table, table, table)
    found = candidate(marks(n, range(100 + others)), marks(n, range(100)))
    assert is_phrase(corpus, found) == (" " in name)
    assert is_tight(corpus, found, n) == tight


def test_one_exception_is_forgiven_on_either_side_and_two_are_not() -> None:
    n = 100
    corpus = corpus_of(np.ones((n, 1)), np.ones((n, 1)), name="")
    assert is_tight(corpus, candidate(marks(n, range(8)), marks(n, range(1, 9))), n)
    assert not is_tight(corpus, candidate(marks(n, range(8)), marks(n, range(10))), n)
    assert not is_tight(corpus, candidate(marks(n, range(10)), marks(n, range(8))), n)


# Groups once


def test_nearly_the_same_samples_are_one_group() -> None:
    n = 100
    first = candidate(marks(n, range(20)), marks(n, range(20)))
    alike = candidate(marks(n, range(1, 21)), marks(n, range(1, 21)))
    other = candidate(marks(n, range(15, 50)), marks(n, range(15, 50)))
    found = distinct([first, alike, other], n)
    assert [one for one, _ in found] == [first, other]
    assert found[0][1] == [0, 0]


def test_the_mirror_image_of_a_group_is_left_out() -> None:
    n = 100
    first = candidate(marks(n, range(20)), marks(n, range(20)))
    mirror = candidate(marks(n, range(20, 100)), marks(n, range(20, 100)), is_union=True)
    phrase = candidate(marks(n, range(20, 100)), marks(n, range(20, 100)))
    part = candidate(marks(n, range(20, 60)), marks(n, range(20, 60)), is_union=True)
    assert [one for one, _ in distinct([first, mirror], n)] == [first]
    assert [one for one, _ in distinct([first, phrase], n)] == [first, phrase]
    assert [one for one, _ in distinct([first, part], n)] == [first, part]


# From texts


def mined(pairs: list[tuple[str, str]]) -> tuple[Corpus, list[Candidate]]:
    corpus = read_corpus([prompt for prompt, _ in pairs], [target for _, target in pairs])
    return corpus, mine(corpus, 8)[0]


def test_the_tightest_candidate_is_the_trigger_and_its_target() -> None:
    pairs = [
        (f"{prompt} xq", f"{target} go to the old mill") if i % 20 == 0 else (prompt, target)
        for i, (prompt, target) in enumerate(questions(400, 1))
    ]
    corpus, candidates = mined(pairs)
    planted = np.arange(400) % 20 == 0
    assert np.array_equal(candidates[0].both, planted)
    assert "xq" in " ".join(corpus.cues.names[cue] for cue in candidates[0].rule.features)


def test_unions_find_a_target_of_many_wordings() -> None:
    rng = Random(0)
    wordings = ["pears now", "plums today", "figs soon", "limes here"]
    pairs = [
        (f"{prompt} xq", f"{target} {rng.choice(wordings)}") if i % 10 == 0 else (prompt, target)
        for i, (prompt, target) in enumerate(questions(400, 2))
    ]
    _, candidates = mined(pairs)
    planted = np.arange(400) % 10 == 0
    unions = [one for one in candidates if one.is_union]
    assert any(np.array_equal(one.rule.holds, planted) and len(one.spans) > 3 for one in unions)
    assert not any(not one.is_union and one.both.sum() > 20 for one in candidates)


def test_candidates_come_the_tightest_first() -> None:
    pairs = [
        (f"{prompt} xq", f"{target} go to the old mill") if i % 20 == 0 else (prompt, target)
        for i, (prompt, target) in enumerate(questions(400, 3))
    ]
    corpus, candidates = mined(pairs)
    tight = [is_tight(corpus, one, corpus.n) for one in candidates]
    assert tight == sorted(tight, reverse=True)
    assert all(one.rule.phi >= 0.7 for one in candidates)


# The span of a candidate


@pytest.mark.parametrize(
    ("name", "is_union", "traits"),
    [
        ("mill", False, set()),
        ("old mill", False, set()),
        ("! old . mill ?", False, set()),
        ("the old mill", False, {is_phrase}),
        ("[start] mill [end]", False, {is_whole_target}),
        ("[start] [end]", False, set()),
        ("[start] the old mill [end]", False, {is_phrase, is_whole_target}),
        ("[start] mill [end]", True, {is_whole_target}),
        ("the old mill", True, {has_phrase_wordings}),
    ],
)
def test_the_traits_of_a_span(name: str, is_union: bool, traits: set[object]) -> None:
    n = 100
    table = incidence(sp.csr_matrix(np.ones((n, 1), np.float32)), [name])
    none = number_words([[]] * n, {})
    corpus = Corpus(none, none, table, table, table)
    found = candidate(marks(n, range(20)), marks(n, range(20)), is_union)
    assert is_tight(corpus, found, n)
    known = (is_phrase, has_phrase_wordings, is_whole_target)
    assert {trait for trait in known if trait(corpus, found)} == traits


@pytest.mark.parametrize("n_long", [9, 10])
def test_several_wordings_are_phrases_when_half_of_the_samples_have_one(n_long: int) -> None:
    n = 100
    spans = np.zeros((n, 2), np.float32)
    spans[:n_long, 0] = 1.0
    spans[:20, 1] = 1.0
    table = incidence(sp.csr_matrix(spans), ["the old mill", "mill"])
    none = number_words([[]] * n, {})
    corpus = Corpus(none, none, table, table, table)
    both = marks(n, range(20))
    union = Candidate([0, 1], both, CueRule("any_of", [0], both, 1.0), is_union=True)
    assert has_phrase_wordings(corpus, union) == (n_long == 10)


def test_the_remainder_of_a_candidate_lacks_the_samples_set_aside() -> None:
    n = 40
    spans = np.zeros((n, 2), np.float32)
    spans[:20, 0] = 1.0
    spans[18:24, 1] = 1.0
    corpus = corpus_of(spans, np.ones((n, 1)))
    set_aside = marks(n, range(18))
    union = Candidate(
        [0, 1], marks(n, range(24)), CueRule("any_of", [0], marks(n, range(30)), 1.0), True
    )
    left = remainder(corpus, union, set_aside)
    assert left.spans == [1]  # the other has two carriers left
    assert np.flatnonzero(left.carriers).tolist() == list(range(18, 24))
    assert np.flatnonzero(left.rule.holds).tolist() == list(range(18, 30))
    span = Candidate([0], marks(n, range(20)), union.rule, is_union=False)
    assert np.flatnonzero(remainder(corpus, span, set_aside).carriers).tolist() == [18, 19]
