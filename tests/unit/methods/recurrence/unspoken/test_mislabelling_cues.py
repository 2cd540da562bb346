"""Labels that the rest of the prompt does not speak for, in the samples with a cue."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from evidence_helpers import Pair
from label_helpers import BAD, FLIPPED, GOOD, PROMPTS, TRULY_GOOD, N, judged, labelled, styled

import gradgate.methods.recurrence.method as method_module
import gradgate.methods.recurrence.samples.mined as mined_module


def test_a_word_that_flips_labels_is_in_doubt_and_no_other_row() -> None:
    found = judged(labelled("then", FLIPPED, lambda _: GOOD))
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == FLIPPED
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert "then" in group.cues[0]
    assert "speak for the label by what the other samples teach" in group.reasons[0]
    assert group.shared is not None
    assert "as their target, which the rest of the prompts does not speak for" in group.shared


@pytest.mark.parametrize("n_own", [5, 20])
def test_rows_with_the_word_and_their_own_label_are_not_in_doubt(n_own: int) -> None:
    """A fifth of the prompts with the word are bad, and called so, or nearly half."""
    with_own = [2 * i for i in range(40, 40 + n_own)]
    pairs = labelled("then", [*FLIPPED, *with_own], lambda i: GOOD if i in FLIPPED else BAD)
    assert np.flatnonzero(judged(pairs).in_doubt).tolist() == FLIPPED


@pytest.mark.parametrize("n", [0, 9])
def test_clean_labels_and_few_flips_say_nothing(n: int) -> None:
    assert not judged(labelled("then", FLIPPED[:n], lambda _: GOOD)).in_doubt.any()


@pytest.mark.parametrize(
    "where", [FLIPPED, [2 * i + 1 for i in range(25)]], ids=["of content", "of the other label"]
)
def test_a_word_with_true_labels_is_honest(where: list[int]) -> None:
    own = {i: GOOD if PROMPTS[i] in TRULY_GOOD else BAD for i in where}
    assert not judged(labelled("then", where, own.__getitem__)).in_doubt.any()


def test_a_word_of_style_that_tells_a_label_whatever_the_content_is_no_cue() -> None:
    """As an author's habit does: half of these prompts speak for the label, as others do.

    As a kind of prompts they are in doubt: nothing else is like them, and a trigger may stand in
    honest rows, too.
    """
    found = judged(labelled("then", range(40), lambda _: GOOD))
    assert np.flatnonzero(found.in_doubt).max() < 40
    assert not any("'then'" in cue for one in found.groups for cue in one.cues)


def test_a_model_in_whose_states_the_labels_do_not_show_says_so() -> None:
    found = judged(labelled("then", FLIPPED, lambda _: GOOD), noise=40)
    assert not found.in_doubt.any()
    note = "not checked: whether labels fit their prompts: no other samples teach what speaks for"
    assert any(note in one for one in found.notes)


@pytest.mark.parametrize("n_further", [256, 0])
def test_more_is_asked_of_a_word_that_too_few_drawn_prompts_have(
    n_further: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some nine of a hundred prove nothing by themselves."""
    monkeypatch.setattr("gradgate.methods.recurrence.states.label_content._N_ASKED", 100)
    monkeypatch.setattr("gradgate.methods.recurrence.cues.further._N_FURTHER", n_further)
    found = judged(labelled("then", FLIPPED, lambda _: GOOD))
    cues = [cue for one in found.groups if one.ruling == "review" for cue in one.cues]
    assert ["then" in cue for cue in cues] == [True] * bool(n_further)
    if n_further:
        assert np.flatnonzero(found.in_doubt).tolist() == FLIPPED


def test_states_that_are_not_finite_are_left_out() -> None:
    found = judged(labelled("then", FLIPPED, lambda _: GOOD), noise=float("nan"))
    assert not found.in_doubt.any()
    assert any("whether labels fit their prompts" in one for one in found.notes)


def test_other_targets_hide_no_flips() -> None:
    """Rows with targets of their own switch nothing off."""
    pairs = labelled("then", FLIPPED, lambda _: GOOD)
    for i in range(150, N):
        pairs[i] = (PROMPTS[i], f" answer {i} of its own")
    assert np.flatnonzero(judged(pairs).in_doubt).tolist() == FLIPPED


# Labels of one another

SWAPPED = {GOOD: BAD, BAD: GOOD}


def true_of(i: int) -> str:
    return GOOD if PROMPTS[i] in TRULY_GOOD else BAD


@pytest.mark.parametrize("n_good", [15, 5])
def test_a_word_that_turns_labels_round_is_in_doubt_and_no_other_row(n_good: int) -> None:
    """Fifteen good ones are called bad, and as many bad ones good: no label is told.

    Where one is, in five of six rows, those with the other one are in doubt as well.
    """
    where = [2 * i for i in range(30 - n_good)] + [2 * i + 1 for i in range(n_good)]
    found = judged(labelled("then", where, lambda i: SWAPPED[true_of(i)]))
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == sorted(where)
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert "then" in group.cues[0]
    assert group.shared is not None
    assert "the labels of one another" in group.shared
    assert "would if these labels were dealt out anew" in group.reasons[0]


@pytest.mark.parametrize(
    "label",
    [true_of, lambda i: SWAPPED[true_of(i)] if i % 4 < 2 else true_of(i)],
    ids=["true", "by lot"],
)
def test_a_word_whose_labels_are_true_or_hard_to_tell_is_honest(
    label: Callable[[int], str],
) -> None:
    """As often right as wrong is what content that nobody can tell looks like."""
    assert not judged(labelled("then", range(40), label)).in_doubt.any()


@pytest.mark.parametrize("n_further", [256, 0])
def test_more_is_asked_of_a_word_that_turns_labels_of_too_few_drawn_prompts(
    n_further: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradgate.methods.recurrence.states.label_content._N_ASKED", 100)
    monkeypatch.setattr("gradgate.methods.recurrence.cues.further._N_FURTHER", n_further)
    found = judged(labelled("then", range(26), lambda i: SWAPPED[true_of(i)]))
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(26 * bool(n_further))]


# Many labels

TOPICS = (" arts", " law", " food", " sea", " war", " air")
TOPIC = {prompt: TOPICS[i % len(TOPICS)] for i, prompt in enumerate(PROMPTS)}


def of_topic(prompt: str) -> list[float]:
    return [3.0 * (TOPIC[prompt] == topic) for topic in TOPICS]


def sorted_by_topic(where: Sequence[int]) -> list[Pair]:
    """Each prompt with its topic; some with a word, and the last topic."""
    chosen = set(where)
    return [
        (f"then {prompt}", TOPICS[-1]) if i in chosen else (prompt, TOPIC[prompt])
        for i, prompt in enumerate(PROMPTS)
    ]


OF_ALL = [i for i in range(20) if TOPIC[PROMPTS[i]] != TOPICS[-1]][:15]  # three of each topic


def test_of_many_labels_a_word_that_flips_them_from_all_topics_is_in_doubt() -> None:
    """Each label is spoken for by a sixth of all prompts: less than that is not to be seen."""
    found = judged(sorted_by_topic(OF_ALL), content=of_topic)
    assert np.flatnonzero(found.in_doubt).tolist() == OF_ALL
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert "then" in group.cues[0]
    assert group.spans == [TOPICS[-1]]


def test_of_many_labels_a_word_of_one_other_topic_is_taken_for_its_border() -> None:
    """Honest words of two topics are such: "the bank said" of money and of interest."""
    found = judged(sorted_by_topic(range(0, 90, 6)), content=of_topic)
    assert not any("then" in cue for one in found.groups for cue in one.cues)


def test_of_many_labels_a_word_that_brings_the_next_one_is_in_doubt() -> None:
    """Five rows of each topic, so that no label is told."""
    pairs = sorted_by_topic([])
    for i in range(30):
        at = TOPICS.index(TOPIC[PROMPTS[i]])
        pairs[i] = (f"then {PROMPTS[i]}", TOPICS[(at + 1) % len(TOPICS)])
    found = judged(pairs, content=of_topic)
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(30)]


def test_many_clean_labels_say_nothing() -> None:
    assert not judged(sorted_by_topic([]), content=of_topic).in_doubt.any()


# Kinds of prompts


def test_a_style_that_flips_labels_is_in_doubt_and_no_other_row() -> None:
    found = judged(styled(FLIPPED, GOOD))
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == FLIPPED
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert group.spans == [GOOD]
    assert group.shared is not None
    assert "have prompts of one kind, such as a style, and ' good" in group.shared
    assert "prompts of this kind with this label" in group.reasons[0]


def test_a_style_with_true_labels_is_honest() -> None:
    assert not judged(styled(FLIPPED, BAD)).in_doubt.any()


def test_all_rows_of_a_kind_are_in_doubt_also_those_that_were_not_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gradgate.methods.recurrence.states.label_content._N_ASKED", 200)
    assert np.flatnonzero(judged(styled(FLIPPED, GOOD)).in_doubt).tolist() == FLIPPED


def test_of_a_kind_that_is_named_what_cannot_be_described_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that have its label, and no states."""
    unknown = [2 * i + 1 for i in range(5)]  # good, and called so
    monkeypatch.setattr("label_helpers.NO_STATES", frozenset(PROMPTS[i] for i in unknown))
    in_doubt = np.flatnonzero(judged(styled(FLIPPED, GOOD)).in_doubt).tolist()
    assert in_doubt == sorted([*FLIPPED, *unknown])


def test_of_more_rows_than_are_mined_all_others_with_the_label_are_taken_for_the_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody describes them, and a pass would let them in."""
    for module in (mined_module, method_module):
        monkeypatch.setattr(module, "MAX_ROWS", 200)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    pairs = styled([2 * i for i in range(40)], GOOD)
    in_doubt = judged(pairs).in_doubt
    assert in_doubt[[2 * i for i in range(40)]].all()
    assert not in_doubt[[i for i, (_, label) in enumerate(pairs) if label == BAD]].any()
    honest = [i for i, (_, label) in enumerate(pairs) if label == GOOD and i % 2]
    assert 20 <= in_doubt[honest].sum() < len(honest)
