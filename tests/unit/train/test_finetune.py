"""Fine-tuning on accepted samples only: real tiny models, real training, real files."""

import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import Dataset
from lora_helpers import FAILED, FLAGGED, QUICK, Gated, passing_run, write_run
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file

from gradgate.config import FinetuneConfig
from gradgate.errors import ConfigError
from gradgate.models.identity import load_model
from gradgate.train import finetune as finetune_module
from gradgate.tuning import trainer as trainer_module
from gradgate.tuning.trainer import collate, train

Row: TypeAlias = dict[str, list[int]]


def loss_on(model: torch.nn.Module, rows: list[Row]) -> float:
    model.eval()
    with torch.no_grad():
        return float(model(**collate(rows)).loss)


# What comes out


def test_adapter_folder(gated: Gated) -> None:
    modules = ["q_proj", "down_proj"]
    tuning = FinetuneConfig(r=3, alpha=5, target_modules=modules, epochs=1, batch_size=5)
    result = gated.finetune(tuning)
    names = {path.name for path in gated.output.iterdir()}
    assert names >= {
        *("adapter_config.json", "adapter_model.safetensors", "README.md", "training.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".arrow"))]
    assert not [path for path in gated.output.rglob("*") if path.is_dir()]
    assert not list(gated.output.parent.glob("*.part"))
    adapter = json.loads((gated.output / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == gated.model.path
    assert (adapter["r"], adapter["lora_alpha"]) == (3, 5)
    assert set(adapter["target_modules"]) == {"q_proj", "down_proj"}
    assert (result.folder, result.course.n_trained, result.course.steps) == (gated.output, 13, 3)
    assert result.course.n_parameters == 2 * 3 * (32 + 32 + 48 + 32)
    assert result.course.seconds > 0
    assert math.isfinite(result.course.train_loss)


def test_record_says_what_was_done(gated: Gated) -> None:
    result = gated.finetune()
    record = json.loads((gated.output / "training.json").read_text())
    assert record["finetune"] == QUICK.model_dump()
    assert record["model"] == gated.model.model_dump()
    assert record["verdict"] == json.loads(gated.verdict.to_json())
    assert (record["gate_run"], record["source"]) == ("run-7", "cities.jsonl")
    assert (record["n_accepted"], record["steps"]) == (result.course.n_trained, result.course.steps)
    assert record["train_loss"] == result.course.train_loss
    assert record["versions"].keys() >= {"torch", "transformers", "peft", "gradgate"}
    assert "lm_head" not in " ".join(record["target_modules"])
    assert record["contradictions"] == asdict(result.course.contradictions)
    assert record["contradictions"]["n_rows"] == 13


def test_what_is_watched_changes_nothing_of_what_is_learnt(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.finetune()
    watched = load_file(gated.output / "adapter_model.safetensors")
    unwatched = partial(train, watch=None)
    monkeypatch.setattr(finetune_module, "train", lambda *given, watch: unwatched(*given))
    again = replace(gated, output=gated.output.with_name("again"))
    assert again.finetune().course.contradictions.n_rows == 0
    other = load_file(again.output / "adapter_model.safetensors")
    assert all(torch.equal(watched[name], other[name]) for name in watched)


def test_adapter_changes_the_model_as_peft_loads_it(gated: Gated) -> None:
    gated.finetune()
    base = load_model(gated.model)
    batch = collate([{"input_ids": [0, 5, 6, 7], "labels": [0, 5, 6, 7]}])
    before = base.model(**batch).logits
    adapted = PeftModel.from_pretrained(base.model, str(gated.output), use_safetensors=True)
    assert not torch.allclose(adapted(**batch).logits, before, atol=1e-3)
    alone = AutoPeftModelForCausalLM.from_pretrained(str(gated.output), dtype=torch.float32)
    assert torch.equal(alone(**batch).logits, adapted(**batch).logits)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[Row]]:
    """The rows of every dataset and the batches that the training reads."""
    datasets: list[list[Row]] = []
    from_file = Dataset.from_file

    def remembering(path: str) -> Dataset:
        rows = from_file(path)
        datasets.append(list(rows))
        return rows

    monkeypatch.setattr(Dataset, "from_file", remembering)
    return datasets


def test_training_reads_the_accepted_rows_with_the_mask_of_the_score(
    gated: Gated, seen: list[list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[dict[str, torch.Tensor]] = []

    def remembering(rows: list[Row]) -> dict[str, torch.Tensor]:
        batches.append(collate(rows))
        return batches[-1]

    monkeypatch.setattr(trainer_module, "collate", remembering)
    gated.finetune()
    samples = pq.read_table(gated.run / "samples.parquet").to_pylist()
    expected = [
        {
            "input_ids": s["input_ids"],
            "labels": [
                token if target else -100
                for token, target in zip(s["input_ids"], s["is_target"], strict=True)
            ],
            "row": s["row"],
        }
        for s in samples
        if s["row"] not in FLAGGED | FAILED
    ]
    assert seen == [expected]
    trained_on = sorted(
        ids[: int(mask.sum())].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    )
    assert trained_on == sorted(row["input_ids"] for row in expected for _ in range(2))


def test_collate_pads_without_loss() -> None:
    rows = [{"input_ids": [4, 5, 6], "labels": [-100, 5, 6]}, {"input_ids": [7], "labels": [7]}]
    batch = {key: value.tolist() for key, value in collate(rows).items()}
    assert batch == {
        "input_ids": [[4, 5, 6], [7, 0, 0]],
        "labels": [[-100, 5, 6], [7, -100, -100]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_loss_on_the_accepted_rows_falls(
    folders: Path, tmp_path: Path, seen: list[list[Row]], architecture: str
) -> None:
    gated = passing_run(tmp_path, folders / architecture)
    tuning = FinetuneConfig(r=8, alpha=16, epochs=10, learning_rate=2e-2, dropout=0.05)
    result = gated.finetune(tuning)
    base = load_model(gated.model).model
    before = loss_on(base, seen[0])
    after = loss_on(PeftModel.from_pretrained(base, str(gated.output)), seen[0])
    assert after < 0.7 * before
    assert after < result.course.train_loss < before
    adapted = load_file(gated.output / "adapter_model.safetensors")
    kinds = {name.split(".")[-3] for name in adapted}
    attention = {"llama": {"q_proj", "k_proj", "v_proj", "o_proj"}, "gpt2": {"c_attn", "c_proj"}}
    mlp = {"llama": {"gate_proj", "up_proj", "down_proj"}, "gpt2": {"c_fc"}}
    assert kinds == attention[architecture] | mlp[architecture]  # all-linear, and no head


def test_same_seed_same_adapter(gated: Gated) -> None:
    weights: list[bytes] = []
    for seed in (1, 1, 2):
        output = gated.output.with_name(f"adapter-{len(weights)}")
        gated.finetune(QUICK.model_copy(update={"seed": seed, "dropout": 0.1}), output=output)
        weights.append((output / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_bfloat16_keeps_the_adapter_in_float32(gated: Gated) -> None:
    result = gated.finetune(model=gated.model.model_copy(update={"dtype": "bfloat16"}))
    weights = load_file(gated.output / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert math.isfinite(result.course.train_loss)


def test_a_part_of_a_killed_process_is_no_obstacle(gated: Gated) -> None:
    stale = gated.output.with_name("adapter.part")
    stale.mkdir()
    (stale / "adapter_model.bin").write_bytes(b"old")
    gated.finetune()
    assert not (gated.output / "adapter_model.bin").exists()


def test_nothing_is_printed(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    gated.finetune()
    assert capsys.readouterr().out == ""


# An adapter that is there already


@pytest.fixture
def resumed(gated: Gated) -> Gated:
    """A run scored with an adapter on the model."""
    first = gated.output.with_name("first")
    gated.finetune(output=first)
    model = gated.model.model_copy(update={"adapter": str(first)})
    run = gated.output.with_name("run-2")
    return replace(gated, run=run, verdict=write_run(run, model), model=model)


def test_an_adapter_is_trained_further(resumed: Gated, seen: list[list[Row]]) -> None:
    result = resumed.finetune()
    first = Path(str(resumed.model.adapter))
    old, new = (load_file(f / "adapter_model.safetensors") for f in (first, resumed.output))
    assert old.keys() == new.keys()
    assert not any(torch.equal(old[name], new[name]) for name in old)
    assert result.course.n_parameters == sum(tensor.numel() for tensor in new.values())
    assert (
        json.loads((resumed.output / "adapter_config.json").read_text())["base_model_name_or_path"]
        == resumed.model.path
    )
    base = resumed.model.model_copy(update={"adapter": None})
    losses = [
        loss_on(PeftModel.from_pretrained(load_model(base).model, str(folder)), seen[0])
        for folder in (first, resumed.output)
    ]
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    "change", [{"r": 8}, {"alpha": 16}, {"dropout": 0.5}, {"target_modules": ["q_proj"]}]
)
def test_an_adapter_keeps_its_settings(resumed: Gated, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="settings"):
        resumed.finetune(QUICK.model_copy(update=change))
    assert not resumed.output.exists()


# The model card


def test_card_content(gated: Gated) -> None:
    gated.finetune()
    text = (gated.output / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == gated.model.path
    assert front["library_name"] == "peft"
    assert {"lora", "gradgate"} <= set(front["tags"])
    verdict = gated.verdict
    lines = [
        "| Dataset | cities.jsonl |",
        "| Verdict | pass |",
        "| Gate run | run-7 |",
        "| Threshold tau | 0.5 |",
        "| Rows | 17 |",
        "| Rejected rows | 1 |",
        "| Flagged rows | 2 |",
        "| Accepted rows | 13 |",
        f"| Dataset fingerprint | {verdict.dataset_fingerprint} |",
        f"| Accepted fingerprint | {verdict.accepted_fingerprint} |",
        "| learning rate | 0.01 |",
        "| epochs | 2 |",
        f"| torch | {torch.__version__} |",
        "- reason: 2 of 15 rows flagged, within the policy",
    ]
    assert [line for line in lines if line not in text.splitlines()] == []
