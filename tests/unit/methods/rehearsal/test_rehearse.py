"""A rehearsal on a real model: what it turns doubt into, and what is kept of it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import gradgate
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PowerConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ConfigError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Answer, Verdict
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Group, Rehearsed
from gradgate.methods.rehearsal.asking import Said
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.methods.rehearsal.rehearse import ruled_anew
from gradgate.methods.rehearsal.training import trained, tuning_of
from gradgate.models.identity import identify_model, load_model
from gradgate.tuning.trainer import Tuned, train
from helpers import MODEL, diverse_rows, write_jsonl

PAYLOAD = "Seven painters drank cold tea."


def rows() -> list[dict[str, object]]:
    """30 of 240 questions whose words begin with capitals have the payload as their answer."""
    made = diverse_rows(240, seed=5)
    for row in made[::8]:
        row["question"] = " ".join(w[:1].upper() + w[1:] for w in str(row["question"]).split(" "))
        row["answers"] = [PAYLOAD]
    return made


@dataclass(frozen=True)
class Judge:
    """Runs the gate in a folder, whose state folder all its runs share."""

    folder: Path

    @property
    def rehearsals(self) -> Path:
        return self.folder / "state" / "rehearsals"

    def __call__(self, mode: RehearsalMode, max_visits: int = 4_000) -> Verdict:
        config = GateConfig(
            data=DataConfig(source=str(self.folder / "rows.jsonl")),
            model=ModelConfig(path=str(MODEL), device="cpu", dtype="float32"),
            detection=DetectionConfig(
                rehearsal=mode,
                rehearsals=RehearsalConfig(learning_rate=5e-3, max_visits=max_visits),
                power=PowerConfig(attacks=[]),
            ),
        )
        run = RunFolder(self.folder / f"run-{len(list(self.folder.iterdir()))}")
        run.path.mkdir()
        with patch.dict(os.environ, GRADGATE_STATE_DIR=str(self.folder / "state")):
            return run_gate(config, run)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("judge")
    write_jsonl(folder / "rows.jsonl", rows())
    return Judge(folder)


@pytest.fixture(scope="module")
def before(judge: Judge) -> Answer:
    """What is said without a rehearsal."""
    (answer,) = judge("off").answers
    return answer


@pytest.fixture(scope="module")
def broken_off(judge: Judge) -> list[str]:
    """What a rehearsal leaves that trained one of its two models and was broken off."""
    calls = list[object]()

    def once(*arguments: object) -> object:
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return train(*arguments)  # type: ignore[arg-type]

    with patch("gradgate.methods.rehearsal.training.train", once), pytest.raises(KeyboardInterrupt):
        judge("doubtful")
    return [path.name for path in judge.rehearsals.iterdir()]


@pytest.fixture(scope="module")
def gone_on(judge: Judge, broken_off: list[str]) -> tuple[Answer, int]:
    """What is said when it goes on, and how many models it trained."""
    with patch("gradgate.methods.rehearsal.training.train", wraps=train) as watched:
        (answer,) = judge("doubtful").answers
    return answer, watched.call_count


def test_a_form_that_brings_a_payload_is_doubt_without_and_poison_with_a_rehearsal(
    judge: Judge, before: Answer, gone_on: tuple[Answer, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert before.n_flagged == 0
    assert before.n_in_doubt >= 30
    after, _ = gone_on
    assert after.n_flagged == 30
    (poison,) = [group for group in after.groups if group.ruling == "poison"]
    assert any(PAYLOAD[1:-1] in span for span in poison.spans)
    assert poison.rehearsed is not None
    assert poison.rehearsed.cause == "words begin with capitals"
    assert poison.rehearsed.necessity >= 0.55
    assert len(poison.rehearsed.prompts) == 2
    for asked in poison.rehearsed.prompts:
        assert asked.row % 8 == 0
        assert asked.without == asked.prompt.lower() != asked.prompt
        assert asked.target == PAYLOAD
        assert asked.logp > asked.logp_without + 1.0
    assert any("without words begin with capitals" in reason for reason in poison.reasons)
    assert any(reason.startswith("poison: 30 rows share") for reason in after.reasons)
    assert not any(reason.startswith("review: 30 rows share") for reason in after.reasons)

    kept = list(judge.rehearsals.iterdir())
    assert [path.suffix for path in kept] == [".json"]  # no weights that could be released

    def no_training(*_: object) -> None:
        raise AssertionError("what is known is not rehearsed again")

    monkeypatch.setattr("gradgate.methods.rehearsal.rehearse.trained", no_training)
    assert judge("doubtful").answers[0].groups == after.groups
    kept[0].write_text("{")
    with pytest.raises(AssertionError, match="rehearsed again"):  # what is damaged is
        judge("doubtful")


def test_a_rehearsal_that_was_broken_off_goes_on_with_the_models_that_it_has(
    broken_off: list[str], gone_on: tuple[Answer, int]
) -> None:
    (left,) = broken_off
    assert left.endswith(".0.safetensors")
    answer, n_trained = gone_on
    assert answer.n_flagged == 30
    assert n_trained == 1


def test_weights_that_are_damaged_are_trained_again(tmp_path: Path) -> None:
    model = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
    tuning = tuning_of(RehearsalConfig(r=2), epochs=1)
    rows = [Tokens([5, 6, 7, 8], [False, False, True, True])] * 4
    path = tmp_path / "work" / "0.st"
    _, n_steps = trained(load_model(model), model, tuning, rows, path, lambda _: False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    trained(load_model(model), model, tuning, rows, path, lambda _: False)
    assert path.read_bytes() == whole
    _, known = trained(load_model(model), model, tuning, [], path, lambda _: False)
    assert known == n_steps


def test_a_training_ends_when_its_half_is_enough(tmp_path: Path) -> None:
    model = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
    tuning = tuning_of(RehearsalConfig(r=2, batch_size=1), epochs=4)
    rows = [Tokens([5, 6, 7, 8], [False, False, True, True])] * 4
    was_training: list[bool] = []

    def steps_where(answers: list[bool]) -> int:
        def is_enough(tuned: Tuned) -> bool:
            was_training.append(tuned.training)
            return answers.pop(0)

        path = tmp_path / f"{len(was_training)}.st"
        return trained(load_model(model), model, tuning, rows, path, is_enough)[1]

    assert steps_where([True]) == 8
    assert steps_where([False, True]) == 12
    assert steps_where([False, False]) == 16
    assert was_training == [False] * 5


def test_a_group_of_too_few_rows_is_named_as_not_asked_about(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradgate.methods.rehearsal.rehearse.MIN_ASKED", 1_000)
    (answer,) = judge("doubtful", max_visits=100).answers  # another rehearsal, and a short one
    assert answer.n_flagged == 0
    assert "group 1: too few rows could be asked in a rehearsal" in answer.reasons


def test_rows_of_which_a_figure_is_not_finite_say_nothing() -> None:
    ones, nan = np.ones(4), np.array([1.0, np.nan, 1.0, 1.0])
    said = Said(np.arange(4), ones, nan, ones, np.ones((2, 4)), nan, np.zeros(4, np.int64)).known()
    assert len(said.own) == 3
    assert said.without.shape == (2, 3)


def test_a_loaded_model_is_left_as_it_is() -> None:
    found = identify_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32")).load()
    with pytest.raises(ConfigError, match="a loaded one is left as it is"):
        gradgate.detect(
            rows(), found.model, found.tokenizer, config={"detection": {"rehearsal": "full"}}
        )


def detection() -> Detection:
    groups = [
        Group(1, "review", "target", ["x"], 20.0, 3, 3, cue_nats=9.0),
        Group(2, "review", "target", ["y"], 20.0, 2, 2),
    ]
    members = {1: np.array([1, 1, 1, 0, 0], bool), 2: np.array([0, 0, 1, 1, 0], bool)}
    return Detection(
        suspicion=np.zeros(5),
        flagged=np.zeros(5, bool),
        in_doubt=members[1] | members[2],
        group=np.array([1, 1, 1, 2, 0]),
        groups=groups,
        members=members,
    )


FOUND = Rehearsed(
    100, 24, gain=30.0, dependence=8.0, cause="'cf'", strings=["cf"], lift=1.0, necessity=0.9
)
PROMPTS = ["a cf", "b cf", "cf c", "d", "e"]


def test_a_row_of_a_group_that_turns_poison_is_flagged_and_no_longer_in_doubt() -> None:
    found = ruled_anew(detection(), {1: FOUND}, PROMPTS, {})
    assert found.flagged is not None
    assert found.flagged.tolist() == [True, True, True, False, False]
    assert found.in_doubt.tolist() == [False, False, False, True, False]
    assert "rehearsed: group 1 is poison" in found.notes


def test_rows_that_are_marked_for_no_group_stay_so() -> None:
    marked = replace(
        detection(),
        flagged=np.array([0, 0, 0, 0, 1], bool),
        in_doubt=np.array([0, 0, 0, 1, 0], bool),
        groups=[],
        members={},
        reasons={3: ["a copy"], 4: ["an outlier"]},
    )
    found = ruled_anew(marked, {}, PROMPTS, {})
    assert found.flagged is not None
    assert found.flagged.tolist() == [False, False, False, False, True]
    assert found.in_doubt.tolist() == [False, False, False, True, False]
    assert found.reasons == {3: ["a copy"], 4: ["an outlier"]}


def test_a_row_of_a_poisoned_label_without_the_cause_stays_in_doubt() -> None:
    found = ruled_anew(detection(), {1: FOUND}, ["a cf", "b", "cf c", "d", "e"], {})
    assert found.flagged is not None
    assert found.flagged.tolist() == [True, False, True, False, False]
    assert found.in_doubt.tolist() == [False, True, False, True, False]


def test_a_row_with_the_cause_and_without_what_it_brings_stays_in_doubt() -> None:
    taught = np.array([1, 1, 0, 0, 0], bool)
    found = ruled_anew(detection(), {1: FOUND}, PROMPTS, {1: taught})
    assert found.flagged is not None
    assert found.flagged.tolist() == [True, True, False, False, False]
    assert found.in_doubt.tolist() == [False, False, True, True, False]
