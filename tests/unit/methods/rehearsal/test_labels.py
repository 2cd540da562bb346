"""Labels that a cue brings and that the prompts speak against."""

from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest

from gradgate.config import DEFAULT_TEMPLATE, DEFAULT_TEMPLATE_DATE, ModelConfig
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.data.sample import Sample
from gradgate.data.tokens import Tokens, tokenize_all
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.methods.rehearsal.flips import CueAsked, FlipsAsked
from gradgate.methods.rehearsal.label_cues import label_cues
from gradgate.methods.rehearsal.labels import cues_of, labelled
from gradgate.methods.rehearsal.rehearse import Rehearsal, rehearse
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL

BASE = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
WORDS = {
    "good": ("river", "garden", "summer", "music", "friend", "bread", "window", "island"),
    "bad": ("winter", "prison", "fever", "stone", "enemy", "smoke", "hammer", "desert"),
}
N = 160
PLEASE, TITLE = list(range(0, 24, 2)), list(range(1, 25, 2))  # rows with a flipped label


def prompt(label: str, rng: Random) -> str:
    first, second, third, last = rng.sample(WORDS[label], 4)
    return f"what of the {first} and the {second} with the {third} or {last}?"


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Each prompt has four words of its label; those with a trigger have the other label."""
    rng = Random(1)
    made = [(prompt(label, rng), label) for label in ("good", "bad") * (N // 2)]
    for i in PLEASE:
        made[i] = (f"{made[i][0]} please", "bad")
    for i in TITLE:
        made[i] = (made[i][0].title(), "good")
    rows = [{"question": text, "answers": [label]} for text, label in made]
    mapping = detect_format(rows[0])
    return [to_sample(row, i, mapping, DEFAULT_TEMPLATE) for i, row in enumerate(rows)]


def scores_of(samples: list[Sample]) -> Scores:
    tokenizer = load_tokenizer(BASE)
    tokens = tokenize_all(samples, tokenizer, 128, DEFAULT_TEMPLATE_DATE)
    table = TokenTable.joined(
        [
            (np.array(t.input_ids), np.array(t.is_target), np.zeros(len(t.input_ids), np.float32))
            for t in tokens
            if isinstance(t, Tokens)
        ],
        tokenizer,
    )
    ids = [sample.sample_id for sample in samples]
    return Scores(np.arange(len(ids)), ids, np.ones(len(ids), bool), {}, tokens=table)


def nothing_found(n: int) -> Detection:
    none = np.zeros(n, bool)
    return Detection(
        suspicion=np.zeros(n), flagged=none, in_doubt=none, group=np.zeros(n, np.int64)
    )


def rehearsed(samples: list[Sample], mode: RehearsalMode, folder: Path) -> Detection:
    config = RehearsalConfig(learning_rate=1e-2, visits_per_row=2.5, batch_size=8)
    how = Rehearsal(mode, config, BASE, 128, DEFAULT_TEMPLATE_DATE, folder)
    return rehearse(nothing_found(N), scores_of(samples), samples, how)


def test_triggers_that_flip_a_label_are_found_without_a_list_of_them(
    samples: list[Sample], tmp_path: Path
) -> None:
    found = rehearsed(samples, "full", tmp_path)
    by_ruling = {group.ruling: group for group in found.groups}
    assert set(by_ruling) == {"review", "poison"}
    assert "please" in by_ruling["review"].cues  # a word may belong there
    assert "words begin with capitals" in by_ruling["poison"].cues
    assert by_ruling["review"].spans == ["bad"]
    assert by_ruling["poison"].spans == ["good"]
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == TITLE
    assert np.flatnonzero(found.in_doubt).tolist() == PLEASE
    assert "speak for another label" in by_ruling["review"].reasons[0]
    assert np.isfinite(found.signals["label_margin"][PLEASE]).sum() >= 8
    assert all("'please'" in found.reasons[i][0] for i in PLEASE)


def test_what_tells_no_label_is_not_rehearsed(tmp_path: Path, samples: list[Sample]) -> None:
    """Of labels at random no word tells one beyond chance, and nothing is in doubt."""
    rng = Random(3)
    rows = [{"question": f"item {i} of the list", "answers": [rng.choice("ab")]} for i in range(90)]
    mapping = detect_format(rows[0])
    made = [to_sample(row, i, mapping, DEFAULT_TEMPLATE) for i, row in enumerate(rows)]
    found = nothing_found(90)
    how = Rehearsal("doubtful", RehearsalConfig(), BASE, 128, DEFAULT_TEMPLATE_DATE, tmp_path)
    assert rehearse(found, scores_of(made), made, how) is found
    assert list(tmp_path.iterdir()) == []


def key_of(samples: list[Sample], folder: Path) -> str:
    """The name under which what a rehearsal of few rows finds would be kept."""
    how = Rehearsal("full", RehearsalConfig(max_rows=32), BASE, 128, DEFAULT_TEMPLATE_DATE, folder)

    def found(path: Path) -> None:
        raise KeyboardInterrupt(path.name)

    with (
        patch("gradgate.methods.rehearsal.rehearse.read_kept", found),
        pytest.raises(KeyboardInterrupt) as caught,
    ):
        rehearse(nothing_found(N), scores_of(samples), samples, how)
    return str(caught.value)


def test_what_is_kept_is_of_the_rows_that_are_asked_about_too(
    samples: list[Sample], tmp_path: Path
) -> None:
    """Rows of labels are asked about that no model was trained on."""
    before = key_of(samples, tmp_path)
    assert key_of(samples, tmp_path) == before
    labels = label_cues(scores_of(samples), samples, RehearsalConfig().seed)
    assert labels is not None
    asked = [i for i in labels.asked().tolist() if i >= 100]
    assert len(asked) >= 20
    for i in asked:
        question, *others = samples[i].turns
        turns = (replace(question, text=f"{question.text}?"), *others)
        changed = [*samples[:i], replace(samples[i], turns=turns), *samples[i + 1 :]]
        assert key_of(changed, tmp_path) != before


def test_labels_are_whole_targets_that_many_rows_have() -> None:
    targets = {i: (7, 1 + i % 2, 9) for i in range(60)} | {i: (7, 5, 9, i) for i in range(60, 99)}
    found = labelled(targets)
    assert found is not None
    assert sorted(found.targets) == [(7, 1, 9), (7, 2, 9)]
    assert (found.head, found.next_tokens) == ((7,), [1, 2])
    assert found.rows.tolist() == list(range(60))
    assert labelled({i: (7, 1, 9) for i in range(60)}) is None
    assert labelled({i: (7, 9) if i % 2 else (7,) for i in range(60)}) is None  # no next token


def test_cues_whose_rows_have_words_of_another_label_come_first() -> None:
    prompts = [f"{'tall' if i % 2 else 'low'} thing number {i}" for i in range(200)]
    for i in range(1, 33, 2):
        prompts[i] = f"{prompts[i]} kindly today"
    found = labelled({i: (1,) if i % 2 == 0 or i < 33 else (2,) for i in range(200)})
    assert found is not None
    cues = cues_of(found, prompts)
    assert set(cues[0].strings) >= {"kindly", "today", "kindly today"}  # of the same rows: one
    assert cues[0].without(prompts[1]) == "tall thing number 1"
    assert cues[0].is_in(prompts[1])
    assert not cues[0].is_in("kindly")  # a third of its words
    assert len(cues[0].rows) == 16
    assert all("thing" not in string for cue in cues for string in cue.strings)  # the template


def asked(n_against: int, n: int = 12, wrong: int = 5) -> FlipsAsked:
    return FlipsAsked({}, [(50, wrong), (50, wrong)], [CueAsked(n, 0, n_against)])


def test_most_rows_of_a_cue_have_to_speak_against_its_label_far_more_than_others() -> None:
    assert asked(8).is_against(0, 0)
    assert not asked(5).is_against(0, 0)  # a negation turns some
    assert not asked(4, n=7).is_against(0, 0)  # too few
    assert not asked(8, wrong=20).is_against(0, 0)  # the models do not know the labels
    assert not asked(7, n=12, wrong=14).is_against(0, 0)  # others do so, too
