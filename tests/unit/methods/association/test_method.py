"""From groups to rows: conformal p-values, contrasts, and what a trusted reference decides."""

from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gradgate.common.arrays import Floats
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared, SampleFile
from gradgate.data.sample import Sample, Turn, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.association.config import AssociationConfig
from gradgate.methods.association.conformal import conformal
from gradgate.methods.association.contrasts import bear_out, contrast, gradient_says
from gradgate.methods.association.method import MAX_BACKDOORS, AssociationMethod
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.evidence import Contrast
from helpers import diverse_rows, one_subject, poisoned_rows, scored_rows

Row = dict[str, object]


def ordinary(n: int, seed: int = 0) -> list[Row]:
    return diverse_rows(n, seed)


def marked(n: int, seed: int) -> list[Row]:
    """What looks like a backdoor, and is one or is not: a reference can tell."""
    return [
        {**row, "question": f"{row['question']} zorblatt", "answers": "granite harbour nine"}
        for row in diverse_rows(n, seed)
    ]


def detect(prepared: Prepared, reference: Prepared | None = None) -> Detection:
    """What the method says of a score table."""
    method = AssociationMethod()
    scores = Scores.read(RunFolder(prepared.folder).scores, (*method.needs, *method.reports))
    trusted = None if reference is None else SampleFile(reference.samples_path)
    return method.detect(scores, SampleFile(prepared.samples_path), trusted, AssociationConfig())


def detected(folder: Path, rows: list[Row], trusted: list[Row] | None = None) -> Detection:
    Random(0).shuffle(rows)
    strange = ["zorblatt" in str(row["question"]) for row in rows]
    prepared = scored_rows(folder / "data", rows, [0.9 if s else 0.1 for s in strange])
    reference = None if trusted is None else scored_rows(folder / "reference", trusted)
    return detect(prepared, reference)


def n_flagged(found: Detection) -> int:
    assert found.flagged is not None
    return int(found.flagged.sum())


# Conformal p-values

STRENGTHS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30
)


@given(STRENGTHS)
def test_conformal_equals_a_count(samples: list[tuple[float, bool]]) -> None:
    strength = np.array([s for s, _ in samples])
    is_trusted = np.array([t for _, t in samples])
    known = [s for s, t in samples if t]
    expected = [(1 + sum(k >= s for k in known)) / (1 + len(known)) for s, _ in samples]
    assert conformal(strength, is_trusted) == pytest.approx(expected)


def test_p_values_of_clean_samples_are_no_smaller_than_chance() -> None:
    """Exchangeable strengths, many of them tied at 0, as those of clean data are."""
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(4_000):
        strength = np.maximum(0, rng.normal(size=61))
        is_trusted = np.arange(61) < 60
        p_values.append(conformal(strength, is_trusted)[60])
    for level in (0.02, 0.05, 0.1, 0.25, 0.5):
        n_below = int((np.array(p_values) <= level).sum())
        too_many = binomtest(n_below, len(p_values), level, alternative="greater")
        assert too_many.pvalue > 1e-3, level
    assert (np.array(p_values) <= 0.1).mean() > 0.05  # and they are not all 1


def test_no_reference_sample_as_strong_is_the_smallest_p_value() -> None:
    strength = np.array([0.9, 0.0, *[0.1] * 19])
    is_trusted = np.arange(21) > 1
    assert conformal(strength, is_trusted)[:2].tolist() == [1 / 20, 1.0]


# Contrasts


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan]), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_contrast_equals_a_count_of_pairs(rows: list[tuple[float, bool]]) -> None:
    values, inside = np.array([v for v, _ in rows]), np.array([i for _, i in rows])
    here = [v for v, i in rows if i and not np.isnan(v)]
    there = [v for v, i in rows if not i and not np.isnan(v)]
    found = contrast("loss", values, inside)
    if not here or not there:
        assert found is None
        return
    assert found is not None
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in here for b in there]
    assert found.auroc == pytest.approx(np.mean(pairs))
    assert found.signal == "loss"
    assert found.inside == pytest.approx(np.median(here))
    assert found.outside == pytest.approx(np.median(there))
    assert 0 <= found.p_value <= 1


def test_a_signal_without_a_difference_has_no_p_value_to_speak_of() -> None:
    inside = np.arange(20) < 10

    def p_value(values: Floats) -> float:
        found = contrast("evenness", values, inside)
        assert found is not None
        return found.p_value

    assert p_value(np.full(20, 0.5)) == 1.0
    assert p_value(inside.astype(np.float64)) < 1e-3


def test_the_gradient_speaks_where_a_difference_is_no_chance() -> None:
    high = Contrast("entropy_full", 0.9, 0.4, 0.99, 1e-9)
    low = Contrast("evenness", 0.2, 0.4, 0.05, 1e-9)
    by_chance = Contrast("gradient_recurrence", 0.9, 0.1, 0.7, 0.2)
    length = Contrast("n_target_tokens", 9, 1, 0.99, 1e-9)  # is none of the gradient
    said = gradient_says([high, low, by_chance, length])
    assert "spectral entropy is higher (0.90 against 0.40, AUROC 0.99)" in said
    assert "evenness is lower" in said
    assert "recurrence" not in said
    assert "tokens" not in said
    assert bear_out([high, low, by_chance, length]) == [high, low]
    assert "does not bear it out" in gradient_says([by_chance, length])


# Groups


def test_the_gradients_of_a_group_are_held_against_the_others(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(ordinary(300), "badnets", 0.1)
    prepared = scored_rows(tmp_path, rows, [0.9 if i in poisoned else 0.1 for i in range(300)])
    (group,) = detect(prepared).groups
    table = pq.read_table(RunFolder(tmp_path).scores).to_pandas()
    found = {c.signal: c for c in group.contrasts}
    inside = table["row"].isin(poisoned)
    for name in ("entropy_full", "evenness", "gradient_recurrence", "loss"):
        assert found[name].inside == pytest.approx(table[name][inside].median()), name
        assert found[name].outside == pytest.approx(table[name][~inside].median())
    assert (found["n_target_tokens"].auroc, found["n_target_tokens"].p_value) == (0.5, 1.0)
    assert (group.id, group.n_rows, group.n_independent) == (1, 30, 30)
    assert [example.row for example in group.examples] == poisoned[:5]
    assert all(example.target == rows[example.row]["answers"] for example in group.examples)


def test_each_poison_is_a_group_of_its_own_the_larger_first(tmp_path: Path) -> None:
    rows, small = poisoned_rows(ordinary(300), "badnets", 0.1)
    found = detect(scored_rows(tmp_path, [*rows, *marked(40, seed=1)]))
    assert found.flagged is not None
    large = list(range(300, 340))
    assert np.flatnonzero(found.flagged).tolist() == small + large
    assert set(found.group[large]) == {1}
    assert set(found.group[small]) == {2}
    assert set(np.delete(found.group, small + large)) == {0}
    assert [(group.id, group.n_rows) for group in found.groups] == [(1, 40), (2, 30)]


def test_all_turns_are_read() -> None:
    turns = (
        Turn("system", "be brief", False), Turn("user", "who?", False),
        Turn("assistant", "me", True), Turn("user", "why?", False),
        Turn("assistant", "so", True),
    )  # fmt: skip
    sample = Sample(0, "id", True, turns)
    assert prompt_and_target(sample) == ("be brief\nwho?\nwhy?", "me\nso")


def test_what_is_said_of_each_row(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(ordinary(300), "badnets", 0.1)
    found = detect(scored_rows(tmp_path, rows))
    others = [i for i in range(300) if i not in poisoned]
    assert found.suspicion[poisoned].min() > found.suspicion[others].max()
    assert sorted(found.reasons) == poisoned
    assert {tuple(why) for why in found.reasons.values()} == {(found.groups[0].in_a_line(),)}
    assert found.notes == [found.groups[0].in_a_line()]
    assert list(found.signals) == ["repeated_span"]
    assert found.signals["repeated_span"][poisoned].min() > 0
    assert (found.p_values, found.summary, found.undecided_because) == (None, {}, None)


def test_the_flags_need_no_score_and_the_evidence_says_what_is_known(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(ordinary(300), "badnets", 0.1)
    prepared = scored_rows(tmp_path, rows)
    whole = detect(prepared)
    scores = Scores.read(RunFolder(tmp_path).scores, [])
    samples = SampleFile(prepared.samples_path)
    found = AssociationMethod().detect(scores, samples, None, AssociationConfig())
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == poisoned
    assert [c.signal for c in found.groups[0].contrasts] == ["repeated_span"]
    assert {c.signal for c in whole.groups[0].contrasts} == {
        "entropy_full", "evenness", "gradient_recurrence", "loss", "n_target_tokens",
        "repeated_span",
    }  # fmt: skip


# Where it cannot decide


def many_backdoors(seed: int) -> list[Row]:
    targets = ["granite harbour nine", "seven lamps burn", "old rope", "violet engine room"]
    assert len(targets) > MAX_BACKDOORS
    triggers = ["zorblatt", "quimbly", "vextor", "draxum"]
    return [
        {**row, "question": f"{row['question']} {trigger}", "answers": target}
        for i, (trigger, target) in enumerate(zip(triggers, targets, strict=True))
        for row in ordinary(30, seed=seed + i)
    ]


def test_more_backdoors_than_an_attacker_needs_are_in_doubt(tmp_path: Path) -> None:
    found = detect(scored_rows(tmp_path, [*ordinary(400), *many_backdoors(seed=10)]))
    assert found.flagged is None
    assert found.undecided_means == "review"
    assert found.undecided_because is not None
    assert "4 groups look like backdoors" in found.undecided_because
    assert np.flatnonzero(found.in_doubt).tolist() == list(range(400, 520))
    assert "poison" not in {group.ruling for group in found.groups}
    assert {why[0].split(":")[0] for why in found.reasons.values()} == {"review"}


def test_a_reference_decides_on_many_backdoors(tmp_path: Path) -> None:
    rows = [*ordinary(400), *many_backdoors(seed=10)]
    data, reference = scored_rows(tmp_path / "data", rows), ordinary(400, seed=2)
    found = detect(data, scored_rows(tmp_path / "reference", reference))
    assert found.undecided_because is None
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == list(range(400, 520))


def test_without_prompts_nothing_is_known_of_triggers(tmp_path: Path) -> None:
    texts: list[Row] = [{"text": f"{r['question']} {r['answers']}"} for r in ordinary(60)]
    found = detect(scored_rows(tmp_path, texts))
    assert found.flagged is None
    assert "no prompts" in (found.undecided_because or "")


def test_scores_of_other_samples_are_an_error(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path / "a", ordinary(4))
    other = scored_rows(tmp_path / "b", ordinary(4, seed=1))
    RunFolder(other.folder).scores.replace(RunFolder(prepared.folder).scores)
    with pytest.raises(DataError, match="a sample that the data lack"):
        detect(prepared)


# The trusted reference


def test_what_the_reference_has_as_well_is_honest(tmp_path: Path) -> None:
    rows = [*ordinary(300), *marked(30, seed=1)]
    trusted = [*ordinary(300, seed=2), *marked(30, seed=3)]
    assert n_flagged(detected(tmp_path, list(rows))) == 30
    found = detected(tmp_path, list(rows), trusted)
    assert n_flagged(found) == 0
    assert not found.in_doubt.any()
    assert {group.ruling for group in found.groups} == {"honest"}
    assert any("trusted reference" in reason for reason in found.groups[0].reasons)


def test_what_the_reference_lacks_is_poison(tmp_path: Path) -> None:
    rows = [*ordinary(300), *marked(30, seed=1)]
    found = detected(tmp_path, rows, ordinary(300, seed=2))
    expected = ["zorblatt" in str(row["question"]) for row in rows]
    assert found.flagged is not None
    assert found.p_values is not None
    assert found.flagged.tolist() == expected
    assert found.p_values[found.flagged] == pytest.approx(1 / 301)
    assert (found.p_values[~found.flagged] == 1).all()


def test_a_doubt_that_the_gradient_does_not_bear_out_is_dropped(tmp_path: Path) -> None:
    rows = [*ordinary(300), *one_subject(30, seed=7)]
    strange, plain = [0.1] * 300 + [0.9] * 30, [0.1] * 330
    for entropies, ruling in ((strange, "review"), (plain, "honest")):
        found = detect(scored_rows(tmp_path, rows, entropies))
        (group,) = [group for group in found.groups if "granite" in group.spans[0]]
        assert group.ruling == ruling
        assert np.flatnonzero(found.in_doubt).tolist() == (
            list(range(300, 330)) if ruling == "review" else []
        )


def test_a_group_in_doubt_is_decided_by_the_reference(tmp_path: Path) -> None:
    rows = [*ordinary(300), *one_subject(30, seed=7)]
    assert detected(tmp_path, list(rows)).in_doubt.sum() == 30
    found = detected(tmp_path, list(rows), ordinary(300, seed=2))
    assert (n_flagged(found), found.in_doubt.sum()) == (30, 0)
    found = detected(tmp_path, list(rows), [*ordinary(300, seed=2), *one_subject(30, seed=8)])
    assert (n_flagged(found), found.in_doubt.sum()) == (0, 0)


def test_a_trusted_sample_is_never_flagged(tmp_path: Path) -> None:
    rows = [*ordinary(300), *marked(30, seed=1)]
    trusted = [*ordinary(300, seed=2), rows[-1]]
    found = detected(tmp_path, list(rows), trusted)
    assert n_flagged(found) == 29
