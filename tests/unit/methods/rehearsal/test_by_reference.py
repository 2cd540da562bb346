"""Models trained on halves of a reference, and the rows that they contradict."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import gradgate
from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PowerConfig
from gradgate.errors import ConfigError, GradgateError, ModelError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Answer
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Group
from gradgate.methods.rehearsal import by_reference
from gradgate.methods.rehearsal.by_reference import ByReference, held_against
from gradgate.methods.rehearsal.config import RehearsalConfig
from gradgate.models.identity import load_model
from gradgate.tuning.trainer import train
from helpers import MODEL, diverse_rows, write_jsonl

HONEST, WRONG = "the first one", "the last one"
N = 120
POISONED = [*range(0, N, 8)]  # have the wrong answer, whatever they are asked
TWIN, KNOWN = 8, 16  # one that is there twice, and one that the reference has


def rows(answer: str = WRONG) -> list[dict[str, object]]:
    """Questions with the same answer, but for those with a wrong one."""
    made = [row | {"answers": [HONEST]} for row in diverse_rows(300, seed=5)[:N]]
    for i in POISONED:
        made[i]["answers"] = [answer]
    return [*made, made[TWIN]]


def trusted(n: int) -> list[dict[str, object]]:
    """Other questions with the honest answer."""
    return [row | {"answers": [HONEST]} for row in diverse_rows(300, seed=5)[N : N + n]]


@dataclass(frozen=True)
class Judge:
    """Runs the gate in a folder, whose state folder all its runs share."""

    folder: Path

    @property
    def kept(self) -> Path:
        return self.folder / "state" / "rehearsals"

    def __call__(
        self,
        judged: list[dict[str, object]],
        reference: list[dict[str, object]],
        epochs: int = 2,
    ) -> tuple[Answer, RunFolder]:
        run = RunFolder(self.folder / f"run-{len(list(self.folder.iterdir()))}")
        run.path.mkdir()
        write_jsonl(run.path / "rows.jsonl", judged)
        write_jsonl(run.path / "trusted.jsonl", reference)
        config = GateConfig(
            data=DataConfig(source=str(run.path / "rows.jsonl")),
            model=ModelConfig(path=str(MODEL), device="cpu", dtype="float32"),
            detection=DetectionConfig(
                reference=str(run.path / "trusted.jsonl"),
                reference_epochs=epochs,
                rehearsals=RehearsalConfig(learning_rate=5e-3),
                power=PowerConfig(attacks=[]),
            ),
        )
        with patch.dict(os.environ, GRADGATE_STATE_DIR=str(self.folder / "state")):
            (answer,) = run_gate(config, run).answers
        return answer, run


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def found(judge: Judge) -> tuple[Answer, RunFolder]:
    """What is said of the rows, one of which is vouched for as it is."""
    return judge(rows(), [*trusted(100), rows()[KNOWN]])


def test_what_a_training_on_the_reference_contradicts_is_in_doubt_and_says_why(
    judge: Judge, found: tuple[Answer, RunFolder]
) -> None:
    without, _ = judge(rows(), trusted(100), epochs=0)
    assert (without.n_flagged, without.n_in_doubt, without.groups) == (0, 0, [])
    answer, run = found
    assert answer.n_flagged == 0  # a person decides
    wrong = {*POISONED, N} - {KNOWN}
    assert answer.n_in_doubt == len(wrong)
    (group,) = answer.groups
    assert (group.ruling, group.n_rows, group.n_independent) == ("review", 15, 14)
    assert {one.row for one in group.examples} <= wrong
    assert "contradict 14 of 119 rows, and 1 of 101 samples of the reference" in group.reasons[0]
    lines = parquet.table(run.flags).to_pylist()
    assert [line["row"] for line in lines if line["in_doubt"]] == sorted(wrong)
    for line in lines:
        if line["row"] in wrong:
            assert line["reasons"] == [
                "review: 15 rows have targets that a training on the reference contradicts "
                "(group 1)",
                "a model trained on the reference expects ' first' in place of ' last one</s>', "
                "behind ' the'",
            ]
            assert line["group"] == 1
        known = line["row"] not in (KNOWN, N)  # it is in the reference, or asked about already
        assert (line["reference_nats"] is not None) is known


def test_rows_like_the_reference_are_not_in_doubt_and_the_next_data_train_nothing(
    judge: Judge, found: tuple[Answer, RunFolder]
) -> None:
    with patch("gradgate.methods.rehearsal.training.train", side_effect=AssertionError):
        answer, _ = judge(rows(HONEST), [*trusted(100), rows()[KNOWN]])
    assert (answer.n_flagged, answer.n_in_doubt, answer.groups) == (0, 0, [])
    assert any(" of 101 samples of the reference" in reason for reason in answer.reasons)


def test_what_was_said_is_kept_and_what_is_damaged_is_asked_again(
    judge: Judge, found: tuple[Answer, RunFolder], caplog: pytest.LogCaptureFixture
) -> None:
    kept = set(judge.kept.iterdir())
    given = rows(), [*trusted(100), rows()[KNOWN]]
    with patch.object(by_reference, "trained", side_effect=AssertionError):
        assert judge(*given)[0].groups == found[0].groups
    for path in kept:
        path.write_bytes(path.read_bytes()[:200])
    assert judge(*given)[0].groups == found[0].groups
    assert "is damaged; it is asked again" in caplog.text


@pytest.mark.parametrize("which", ["rows_nats", "reference_nats", "exchanged_nats", "rows_said"])
def test_what_is_kept_in_part_is_no_answer(
    judge: Judge, found: tuple[Answer, RunFolder], which: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = rows(), [*trusted(100), rows()[KNOWN]]
    kept = max(judge.kept.glob("*.npz"), key=os.path.getmtime)  # of these data, asked last
    with np.load(kept) as there:
        arrays = dict(there)
    arrays[which] = arrays[which] * np.nan if which.endswith("nats") else arrays[which][:-1]
    with kept.open("wb") as file:
        np.savez(file, **arrays)
    assert judge(*given)[0].groups == found[0].groups
    assert "is damaged; it is asked again" in caplog.text


def test_a_run_that_was_broken_off_goes_on_with_the_model_that_it_has(judge: Judge) -> None:
    n_trained = 0

    def once(*arguments: object) -> object:
        nonlocal n_trained
        n_trained += 1
        if n_trained == 2:
            raise KeyboardInterrupt
        return train(*arguments)  # type: ignore[arg-type]

    given = rows(), trusted(80)
    with patch("gradgate.methods.rehearsal.training.train", once):
        with pytest.raises(KeyboardInterrupt):
            judge(*given)
        answer, _ = judge(*given)
    assert n_trained == 3
    assert answer.n_in_doubt == len(POISONED) + 1


def test_a_small_reference_trains_none_and_says_so(judge: Judge) -> None:
    answer, _ = judge(rows(), [*trusted(63), *trusted(1)])
    assert answer.n_in_doubt == 0
    assert (
        "no model was trained on the reference: it has 63 different samples, of 64 that are "
        "needed, and 120 rows are not among them"
    ) in answer.reasons


@pytest.mark.parametrize("kind", [ModelError, ConfigError])
def test_a_training_that_fails_says_how_to_go_without(
    judge: Judge, kind: type[GradgateError]
) -> None:
    with (
        patch.object(by_reference, "trained", side_effect=kind("it does not fit")),
        pytest.raises(kind, match=r"it does not fit \(detection.reference_epochs: 0 trains"),
    ):
        judge(rows(), trusted(70))


def test_a_loaded_model_is_left_as_it_is_and_the_reasons_say_so(tmp_path: Path) -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    write_jsonl(tmp_path / "trusted.jsonl", trusted(70))
    found = gradgate.detect(
        rows()[:40],
        loaded.model,
        loaded.tokenizer,
        config={"detection": {"reference": str(tmp_path / "trusted.jsonl")}},
    )
    (answer,) = found.verdict.answers
    assert (
        "no model was trained on the reference: the model is loaded, and left as it is; give its "
        "path"
    ) in answer.reasons


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (ModelConfig(path="m", adapter="a"), "the model has an adapter already"),
        (ModelConfig(path="m", device_map="auto"), "model.device_map spreads the model"),
        (ModelConfig(path="m"), None),
    ],
)
def test_what_cannot_be_trained_is_named(model: ModelConfig, why: str | None) -> None:
    assert ByReference(2, RehearsalConfig(), model, Path("nowhere")).hindrance == why


SIDES = {"Left": "the first one", "Right": "the last one"}
SHARING = [*range(0, 60, 3)]  # rows with a string that is in doubt


def sided(first: int, n: int, wrong: bool = False) -> list[dict[str, object]]:
    """Questions whose first word tells the answer; the wrong one in rows with the string."""
    made = []
    for i, row in enumerate(diverse_rows(300, seed=5)[first : first + n]):
        side, other = ("Left", "Right") if i % 2 else ("Right", "Left")
        said = SIDES[other if wrong and i in SHARING else side]
        made.append(row | {"question": f"{side}: {row['question']}", "answers": [said]})
    return made


def doubting(found: Detection, *rest: Any) -> Detection:
    """The rest of the judging, with a string of prompts in doubt."""
    has = np.isin(np.arange(len(found.in_doubt)), SHARING)
    group = Group(1, "review", "prompt", [" lane"], nats=9.0, n_rows=len(SHARING), n_independent=20)
    doubted = replace(found, in_doubt=has, groups=[group], members={1: has}, group=has * 1)
    return held_against(doubted, *rest)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_string_behind_which_all_is_as_it_was_learnt_is_honest(
    tmp_path: Path, wrong: bool
) -> None:
    with patch("gradgate.gate.flags.held_against", doubting):
        answer, _ = Judge(tmp_path)(sided(0, 120, wrong), sided(120, 130), epochs=4)
    assert answer.groups[0].ruling == ("review" if wrong else "honest")
    assert answer.n_in_doubt == (len(SHARING) if wrong else 0)
    less = "more than" if wrong else "no more than"
    assert (
        f"contradict its 20 samples {less} samples of the reference"
        in (answer.groups[0].reasons[-1])
    )
