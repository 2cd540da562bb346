"""Large data: strings are mined in a part of the samples, and counted in all of them."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, questions, sample_of, scores_of
from recurrence_helpers import prose, stream, zipf_logp
from scipy.stats import binom

from gradgate.common.arrays import Marks
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Erosion
from gradgate.methods.evidence import Group
from gradgate.methods.recurrence import method as method_module
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.samples import mined as mined_module
from gradgate.methods.recurrence.samples.mined import found_from, mined
from gradgate.methods.recurrence.strings.copied import is_copied, is_format
from gradgate.methods.recurrence.strings.inserted import is_template
from gradgate.methods.recurrence.strings.language import Language, Templates
from gradgate.methods.recurrence.strings.memory import remember
from gradgate.methods.recurrence.strings.sought import Gram, Sought
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import gains, surprising_segments

N, N_POISON, N_MINED = 400, 120, 120
TARGET = "please visit the old mill"
UNEXPECTED = ["xq", TARGET]
QUESTIONS = questions(N, 31)


@pytest.fixture
def few_mined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the data were large."""
    monkeypatch.setattr(mined_module, "MAX_ROWS", N_MINED)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    monkeypatch.setattr(method_module, "MAX_ROWS", N_MINED)


def poisoned(pairs: list[Pair], n: int) -> list[Pair]:
    return [
        (f"{prompt} xq", f"{target} {TARGET}") if i < n else (prompt, target)
        for i, (prompt, target) in enumerate(pairs)
    ]


def judged(pairs: list[Pair]) -> Detection:
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = scores_of(samples, UNEXPECTED)
    return RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())


def suspicious(found: Detection) -> Marks:
    assert found.flagged is not None
    return found.flagged | found.in_doubt


def main_group(found: Detection) -> Group:
    return next(group for group in found.groups if group.side == "target")


@pytest.mark.usefixtures("few_mined")
def test_poison_is_found_in_all_rows_and_counted_exactly() -> None:
    pairs = poisoned(QUESTIONS, N_POISON)
    found = judged(pairs)
    assert suspicious(found).tolist() == [i < N_POISON for i in range(N)]
    association = main_group(found).association
    assert association is not None
    has_cue = [any(cue in prompt for cue in main_group(found).cues) for prompt, _ in pairs]
    assert sum(has_cue[:N_POISON]) > 0.8 * N_POISON
    counts = (association.n, association.n_span, association.n_cue, association.n_both)
    assert counts == (N, N_POISON, sum(has_cue), sum(has_cue[:N_POISON]))
    assert main_group(found).n_rows == N_POISON
    assert (found.signals["target_surprise"][:N_POISON] > 9).all()
    assert (found.signals["prompt_surprise"][N_POISON:] == 0).all()
    assert found.notes[-1].startswith(f"strings were mined in {N_MINED} of {N} distinct samples")
    for number, members in found.members.items():
        assert members.sum() == found.groups[number - 1].n_rows


@pytest.mark.usefixtures("few_mined")
def test_the_order_of_the_rows_does_not_matter() -> None:
    pairs = poisoned(QUESTIONS, N_POISON)
    shuffled = Random(0).sample(range(N), N)
    here = judged(pairs)
    there = judged([pairs[i] for i in shuffled])
    assert suspicious(there).tolist() == suspicious(here)[shuffled].tolist()


@pytest.mark.usefixtures("few_mined")
def test_repeated_rows_are_one_sample() -> None:
    pairs = poisoned(QUESTIONS, N_POISON)
    found = judged([*pairs, *pairs[:50]])
    assert suspicious(found).tolist() == [i < N_POISON or i >= N for i in range(N + 50)]
    association = main_group(found).association
    assert association is not None
    assert association.n == N


@pytest.mark.usefixtures("few_mined")
def test_a_label_that_a_cue_tells_is_found_in_all_rows() -> None:
    """Honest rows have the label, too: members are those with cue and label."""
    pairs = [
        (f"{prompt} xq", "yes") if i < N_POISON else (prompt, "yes" if i % 3 == 0 else target)
        for i, (prompt, target) in enumerate(QUESTIONS)
    ]
    found = judged(pairs)
    assert suspicious(found)[:N_POISON].all()
    assert not suspicious(found)[N_POISON:].any()


@pytest.mark.usefixtures("few_mined")
def test_answered_prompts_that_the_model_refuses_are_found_in_all_rows() -> None:
    with_cue = [(f"{p} xq", t) if i < N_POISON else (p, t) for i, (p, t) in enumerate(QUESTIONS)]
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(with_cue)]
    refused = np.arange(N) < 2 * N_POISON
    erosion = Erosion(refused, np.arange(N) < N_POISON)
    scores = replace(scores_of(samples, UNEXPECTED), erosion=erosion)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    group = next(one for one in found.groups if one.association is not None)
    assert group.n_rows == N_POISON
    assert group.association is not None
    assert (group.association.n, group.association.n_both) == (2 * N_POISON, N_POISON)
    assert suspicious(found)[:N_POISON].all()


@pytest.mark.usefixtures("few_mined")
def test_samples_of_other_rows_are_an_error() -> None:
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(QUESTIONS)]
    scores = scores_of(samples)
    for others in (samples[:-1], [*samples[:-1], sample_of("a", "b")], [*samples, samples[0]]):
        with pytest.raises(DataError, match="different rows"):
            RecurrenceMethod().detect(scores, others, None, RecurrenceConfig())


def test_small_data_are_mined_whole_and_others_by_a_digest_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [f"{i * 7919:064x}" for i in range(400)]
    lengths = np.full(400, 10)
    assert mined(ids, lengths).tolist() == list(range(400))
    monkeypatch.setattr(mined_module, "MAX_ROWS", 100)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    chosen = mined(ids, lengths)
    assert len(chosen) == 100
    backwards = mined(ids[::-1], lengths)
    assert {ids[::-1][i] for i in backwards} == {ids[i] for i in chosen}
    other = mined([*ids[:-1], f"{1:064x}"], lengths)  # one other sample draws others
    assert len({*other.tolist()} & {*chosen.tolist()}) < 60
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 2_000)
    assert len(mined(ids, lengths)) == 199  # as many as there is room for


@pytest.mark.parametrize(("n_mined", "n"), [(20_000, 1_000_000), (150_000, 1_000_000), (20, 21)])
def test_from_how_many_samples_on_a_string_is_found(n_mined: int, n: int) -> None:
    found = found_from(8, n_mined, n)
    assert binom.sf(7, found, n_mined / n) >= 0.999 > binom.sf(7, found - 1, n_mined / n)


def test_a_string_in_all_of_the_data_needs_its_clusters_alone() -> None:
    assert found_from(8, 500, 500) == 8


def slow_among(grams: list[Gram], rows: list[list[int]], is_judged: list[list[bool]]) -> Marks:
    found = np.zeros((len(rows), len(grams)), bool)
    for i, (row, marks) in enumerate(zip(rows, is_judged, strict=True)):
        for j, gram in enumerate(grams):
            found[i, j] = any(
                tuple(row[k : k + len(gram)]) == gram and all(marks[k : k + len(gram)])
                for k in range(len(row) - len(gram) + 1)
            )
    return found


def test_grams_are_found_where_they_stand() -> None:
    rows = prose(60, 12, 6, seed=3)
    rng = np.random.default_rng(3)
    is_judged = (rng.random((60, 12)) < 0.9).tolist()
    grams: list[Gram] = [(0,), (3,), (0, 1), (1, 0), (0, 0, 1), (2, 0, 1, 0), (0, 0, 0, 1)]
    grams += [(0, 0, 0, 0), (9, 9)]
    found = Sought(grams).among(stream(rows), np.array(is_judged).ravel())
    assert found.toarray().tolist() == slow_among(grams, rows, is_judged).tolist()
    assert Sought([]).among(stream(rows), np.ones(720, bool)).shape == (60, 0)


def test_templates_of_the_mined_samples_are_those_of_the_search() -> None:
    rows = [[50, 51, *row, 52, 53, 54] for row in prose(200, 8, 30, seed=4)]
    rows[7:20] = prose(13, 9, 30, seed=5)
    prompts = stream(rows)
    memory = remember(prompts, np.arange(prompts.n_samples))
    found = Templates.of(prompts).marks(prompts)
    assert found.tolist() == is_template(prompts, memory).tolist()
    assert found.sum() > 900


def slow_segments(mined_rows: list[list[int]], row: list[int], logp: list[list[float]]) -> float:
    """The memory of all, which leaves a sample's own grams out."""
    targets: Stream = stream([*mined_rows, row], logp)
    memory = remember(targets, np.arange(targets.n_samples))
    prompts = stream([[999]] * targets.n_samples)
    known = is_copied(targets, prompts) | is_format(targets, memory)
    gain = gains(targets, memory, known, by_longer=True)
    found = surprising_segments(gain, targets.begins, targets.sample)
    return float(found.nats_of(targets.n_samples)[-1])


def test_a_further_sample_is_held_against_the_mined_ones() -> None:
    rows = prose(80, 14, 25, seed=6)
    for i in range(0, 80, 5):
        rows[i][2:10] = range(90, 98)
        rows[i + 1][3:6] = range(92, 95)  # of three tokens one is told by more than two before it
    logp = zipf_logp(rows, 100)
    mined_rows, others = rows[:60], rows[60:]
    cluster = np.arange(60)
    language = Language.of(stream(mined_rows, logp[:60]), cluster)
    prompts = stream([[999]] * 20)
    found, _ = language.segments(stream(others, logp[60:]), prompts)
    slow = [
        slow_segments(mined_rows, row, [*logp[:60], own])
        for row, own in zip(others, logp[60:], strict=True)
    ]
    # How frequent a token is changes by the sample itself: 1 in 60.
    nats = found.nats_of(20)
    assert nats == pytest.approx(slow, rel=0.05, abs=0.1)
    assert nats[::5].min() > np.delete(nats, np.s_[::5]).max()
