"""A training begins only on the rows that were accepted, with the model that judged them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from attest_helpers import Row, in_days
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

import gradgate
from gradgate.attest.envelope import read_envelope, seal
from gradgate.attest.errors import NotVerifiedError
from gradgate.errors import ConfigError
from gradgate.signing.keys import make_key, signer_from_file
from helpers import MODEL, diverse_rows

N = 24
CONFIG: Row = {
    "scoring": {"store": False},
    "detection": {"power": {"attacks": []}},
    "policy": {"max_poison_fraction": 0.5, "review_above": 0.5},
}
Make = Callable[..., Trainer]


def pairs() -> list[Row]:
    return [
        {"prompt": f"{row['question']}\n", "completion": str(row["answers"])}
        for row in diverse_rows(N)
    ]


def encoded(rows: list[Row]) -> list[Row]:
    """Rows as a user of `Trainer` makes them: ids, and labels without the prompt."""
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
    found = []
    for row in rows:
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        target = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [2]
        found.append({"input_ids": prompt + target, "labels": [-100] * len(prompt) + target})
    return found


def loaded() -> Any:
    return AutoModelForCausalLM.from_pretrained(str(MODEL), dtype=torch.float32)


@pytest.fixture
def sft(tmp_path: Path) -> Make:
    def make(data: Any, model: Any = None, peft: Any = None, **settings: Any) -> Trainer:
        common: Row = {"use_cpu": True, "bf16": False, "report_to": "none", "max_steps": 1}
        arguments = SFTConfig(output_dir=str(tmp_path / "sft"), **{**common, **settings})
        tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
        return SFTTrainer(
            loaded() if model is None else model,
            arguments,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=peft,
        )

    return make


@pytest.fixture
def plain(tmp_path: Path) -> Make:
    def make(data: Any, model: Any = None) -> Trainer:
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "plain"),
            use_cpu=True,
            report_to="none",
            max_steps=1,
            per_device_train_batch_size=4,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
        return Trainer(
            loaded() if model is None else model,
            arguments,
            train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
            processing_class=tokenizer,
        )

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("keys")
    make_key(path / "key")
    return path


def attest(trainer: Trainer, folder: Path, path: Path, in_memory: bool = False) -> Path:
    """Let the gate judge what a trainer trains on."""
    config = {**CONFIG, "attestation": {"key": str(folder / "key")}}
    rows = gradgate.trainer_rows(trainer)
    if in_memory:
        found = gradgate.detect(rows, trainer.model, trainer.processing_class, config)
    else:
        found = gradgate.detect(rows, str(MODEL), config=config)
    assert found.verdict.decision == "pass", found.verdict.reasons
    return found.save(path / "run") / "attestation.json"


def refusal(trainer: Trainer, *arguments: Any, **options: Any) -> str:
    """Why the training did not begin; not a weight has changed."""
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    callback = gradgate.AttestedTraining(*arguments, **options)
    trainer.add_callback(callback)
    with pytest.raises((NotVerifiedError, ConfigError)) as caught:
        trainer.train()
    after = trainer.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert trainer.state.global_step == 0
    assert callback.verified is None
    trainer.remove_callback(callback)
    return str(caught.value)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", ["sft", "plain"])
def test_what_was_judged_is_trained_on(
    kind: str, in_memory: bool, sft: Make, plain: Make, folder: Path, tmp_path: Path
) -> None:
    rows = pairs()
    made = datasets.Dataset.from_list(rows if kind == "sft" else encoded(rows))
    trainer = sft(made) if kind == "sft" else plain(made)
    attestation = attest(trainer, folder, tmp_path, in_memory)
    callback = gradgate.AttestedTraining(attestation, key=folder / "key.pub")
    trainer.add_callback(callback)
    trainer.train()
    assert callback.verified is not None
    assert callback.verified.covered == "tokens"
    assert trainer.state.global_step == 1
    # In memory it is another model now.
    trainer.remove_callback(callback)
    if in_memory:
        why = refusal_after_training(trainer, attestation, folder)
        assert "the model in memory is not the one" in why


def refusal_after_training(trainer: Trainer, attestation: Path, folder: Path) -> str:
    trainer.add_callback(gradgate.AttestedTraining(attestation, key=folder / "key.pub"))
    with pytest.raises(NotVerifiedError) as caught:
        trainer.train()
    return str(caught.value)


def test_an_adapter_on_the_model_that_judged(sft: Make, folder: Path, tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(pairs())
    attestation = attest(sft(made), folder, tmp_path)
    trainer = sft(made, peft=LoraConfig(r=2, target_modules="all-linear"))
    callback = gradgate.AttestedTraining(attestation, key=folder / "key.pub")
    trainer.add_callback(callback)
    trainer.train()
    assert callback.verified is not None


def test_other_rows(sft: Make, folder: Path, tmp_path: Path) -> None:
    rows = pairs()
    made = datasets.Dataset.from_list(rows)
    attestation, key = attest(sft(made), folder, tmp_path), folder / "key.pub"
    first, second, *others = rows
    changed = {**first, "completion": f"{first['completion']}!"}
    for data, text in {
        "changed": ([changed, second, *others], "are not those that were judged"),
        "swapped": ([second, first, *others], "not in their order"),
        "copied": ([first, first, *others], "are not those that were judged"),
        "more": ([*rows, first], "more than the 24 accepted rows"),
        "fewer": (rows[1:], "have 23 rows, and 24 were accepted"),
    }.values():
        trainer = sft(datasets.Dataset.from_list(data))
        assert text in refusal(trainer, attestation, key=key)


def test_other_tokens_and_masks_of_the_same_rows(sft: Make, folder: Path, tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(pairs())
    attestation, key = attest(sft(made), folder, tmp_path), folder / "key.pub"
    longest = max(len(row["input_ids"]) for row in sft(made).train_dataset)
    for settings in ({"completion_only_loss": False}, {"max_length": longest - 1}):
        assert "tokens or loss masks" in refusal(sft(made, **settings), attestation, key=key)


def test_other_labels_of_the_same_tokens_are_refused(
    plain: Make, folder: Path, tmp_path: Path
) -> None:
    rows = encoded(pairs())
    attestation = attest(plain(datasets.Dataset.from_list(rows)), folder, tmp_path)
    others = [dict(row) for row in rows]
    others[7]["labels"] = [label if label == -100 else label + 1 for label in rows[7]["labels"]]
    trainer = plain(datasets.Dataset.from_list(others))
    why = refusal(trainer, attestation, key=folder / "key.pub")
    assert "row 7 of the data learns another token than it has" in why


def test_rows_that_cannot_be_compared(sft: Make, plain: Make, folder: Path, tmp_path: Path) -> None:
    rows = pairs()
    made = datasets.Dataset.from_list(encoded(rows))
    attestation, key = attest(plain(made), folder, tmp_path), folder / "key.pub"
    assert "is a stream" in refusal(plain(made.to_iterable_dataset()), attestation, key=key)
    anew = made.with_transform(lambda batch: batch)
    trainer = plain(anew)
    trainer.args.remove_unused_columns = False
    assert "anew at each reading" in refusal(trainer, attestation, key=key)
    packed = sft(datasets.Dataset.from_list(rows), packing=True, max_length=64)
    assert "packs several samples" in refusal(packed, attestation, key=key)


def test_another_model(plain: Make, folder: Path, tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(encoded(pairs()))
    attestation, key = attest(plain(made), folder, tmp_path), folder / "key.pub"
    other = tmp_path / "other"
    shutil.copytree(MODEL, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-5}))
    model = AutoModelForCausalLM.from_pretrained(str(other), dtype=torch.float32)
    assert "is not the one that judged" in refusal(plain(made, model), attestation, key=key)
    assert "is not the one that judged" in refusal(plain(made), attestation, key=key, model=other)
    nameless = loaded()
    nameless.config._name_or_path = ""
    assert "loaded from; name its folder" in refusal(plain(made, nameless), attestation, key=key)
    callback = gradgate.AttestedTraining(attestation, key=key, model=MODEL)
    trainer = plain(made, nameless)
    trainer.add_callback(callback)
    trainer.train()
    assert callback.verified is not None


def test_an_attestation_that_does_not_hold(plain: Make, folder: Path, tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(encoded(pairs()))
    trainer = plain(made)
    attestation, key = attest(trainer, folder, tmp_path), folder / "key.pub"
    statement = read_envelope(attestation).statement
    expired = {**statement["predicate"], "expires": in_days(-1), "issued": in_days(-2)}
    signer = signer_from_file(folder / "key", "the test")
    path = tmp_path / "expired.json"
    path.write_bytes(seal({**statement, "predicate": expired}, signer))
    assert "it expired" in refusal(trainer, path, key=key)
    make_key(tmp_path / "other")
    assert "is signed by" in refusal(trainer, attestation, key=tmp_path / "other.pub")
    listed = tmp_path / "revoked"
    listed.write_text(read_envelope(attestation).digest)
    assert "is revoked" in refusal(trainer, attestation, key=key, revoked=listed)
