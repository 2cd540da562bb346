"""Full-parameter tuning on accepted samples: real tiny models, real training, real files."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from lora_helpers import Gated, assert_nothing_kept, passing_run
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gradgate.config import FinetuneConfig
from gradgate.errors import ConfigError, ModelError
from gradgate.gate.acceptance import NotAcceptedError
from gradgate.models.identity import identify_model, load_model
from gradgate.train import finetune as finetune_module

FULL = FinetuneConfig(kind="full", learning_rate=1e-3, epochs=2, batch_size=4)


def digests(folder: Path) -> dict[str, str]:
    """By file name; with the time of the last change, so that a rewrite shows as well."""
    return {
        path.name: f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_whole_model_comes_out_and_the_base_is_left_alone(
    folders: Path, tmp_path: Path, architecture: str
) -> None:
    gated = passing_run(tmp_path, folders / architecture)
    before = digests(folders / architecture)
    result = gated.finetune(FULL)
    assert digests(folders / architecture) == before
    names = {path.name for path in gated.output.iterdir()}
    assert names >= {"config.json", "model.safetensors", "README.md", "training.json"}
    assert not [n for n in names if n.endswith((".bin", ".pt", ".arrow")) or "adapter" in n]
    base = AutoModelForCausalLM.from_pretrained(folders / architecture)
    tuned = AutoModelForCausalLM.from_pretrained(gated.output)
    changed = [
        name
        for (name, old), new in zip(base.named_parameters(), tuned.parameters(), strict=True)
        if not torch.equal(old, new)
    ]
    assert changed == [name for name, _ in base.named_parameters()]
    assert result.course.n_parameters == sum(parameter.numel() for parameter in base.parameters())
    assert (result.folder, result.course.n_trained, result.course.steps) == (gated.output, 13, 8)


def test_the_gate_can_score_with_what_comes_out(gated: Gated) -> None:
    result = gated.finetune(FULL)
    tuned = gated.model.model_copy(update={"path": str(result.folder)})
    assert load_model(tuned).n_vocabulary == load_model(gated.model).n_vocabulary
    assert identify_model(tuned).identity["sha256"] != gated.verdict.model["sha256"]


def test_card_and_record_say_what_was_done(gated: Gated) -> None:
    gated.finetune(FULL)
    text = (gated.output / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["base_model"], front["library_name"]) == (gated.model.path, "transformers")
    assert {"full-parameter", "gradgate", "gradgate-verdict:pass"} <= set(front["tags"])
    assert "# Full-parameter fine-tuning of " in text
    assert "adapter was trained" not in text
    lines = text.splitlines()
    assert "| kind | full |" in lines
    assert not [line for line in lines if line.startswith(("| r |", "| alpha |", "| target"))]
    record = json.loads((gated.output / "training.json").read_text())
    assert record["finetune"] == FULL.model_dump()
    assert record["verdict"] == json.loads(gated.verdict.to_json())
    assert "target_modules" not in record


def test_same_seed_same_model(gated: Gated) -> None:
    weights: list[bytes] = []
    for seed in (1, 1, 2):
        output = gated.output.with_name(f"model-{len(weights)}")
        gated.finetune(FULL.model_copy(update={"seed": seed}), output=output)
        weights.append((output / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_small_updates_of_a_bfloat16_model_are_not_lost(gated: Gated) -> None:
    """In bfloat16 a step of 1e-6 would change none of the larger weights."""
    slow = FULL.model_copy(update={"learning_rate": 1e-6, "epochs": 1.0})
    gated.finetune(slow, model=gated.model.model_copy(update={"dtype": "bfloat16"}))
    weights = load_file(gated.output / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    seen = weights["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(seen, seen.bfloat16().float())
    assert json.loads((gated.output / "config.json").read_text())["dtype"] == "float32"


def test_a_verdict_that_is_no_pass_trains_nothing(gated: Gated) -> None:
    (gated.run / "flags.parquet").unlink()
    with pytest.raises(Exception, match=r"flags\.parquet"):
        gated.finetune(FULL)
    assert_nothing_kept(gated)


def test_changed_rows_are_refused(gated: Gated) -> None:
    other = {**gated.verdict.__dict__, "accepted_tokens": "0" * 64}
    with pytest.raises(NotAcceptedError, match="accepted_tokens"):
        gated.finetune(FULL, verdict=type(gated.verdict)(**other))
    assert_nothing_kept(gated)


def test_an_adapter_on_the_model_is_refused(gated: Gated) -> None:
    first = gated.finetune(output=gated.output.with_name("first")).folder
    adapted = gated.model.model_copy(update={"adapter": str(first)})
    identity = identify_model(adapted).identity
    verdict = type(gated.verdict)(**{**gated.verdict.__dict__, "model": identity})
    with pytest.raises(ConfigError, match=r"merge the adapter .* or set finetune\.kind to lora"):
        gated.finetune(FULL, model=adapted, verdict=verdict)
    assert not gated.output.exists()


def test_quantised_weights_are_refused(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    def quantised(config: object) -> object:
        loaded = load_model(gated.model)
        packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
        loaded.model.register_parameter("packed", packed)
        return loaded

    monkeypatch.setattr(finetune_module, "load_model", quantised)
    with pytest.raises(ModelError, match="quantised"):
        gated.finetune(FULL)
    assert_nothing_kept(gated)


def test_a_learning_rate_that_blows_up(gated: Gated) -> None:
    with pytest.raises(ModelError, match="not finite"):
        gated.finetune(FULL.model_copy(update={"learning_rate": 1e38, "epochs": 4}))
    assert_nothing_kept(gated)


@pytest.mark.parametrize("idle", [{"r": 8}, {"target_modules": ["q_proj"]}, {"dropout": 0.1}])
def test_settings_of_an_adapter_are_refused(idle: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"has no adapter; leave {next(iter(idle))} out"):
        FinetuneConfig.model_validate({"kind": "full", **idle})


def test_a_resolved_configuration_loads_again() -> None:
    assert FinetuneConfig.model_validate(FULL.model_dump()) == FULL
