"""Whether a fine-tuning can begin, before the gate has run."""

from pathlib import Path

import pytest
from lora_helpers import write_models
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.errors import ConfigError, ModelError
from gradgate.train.preflight import check_finetuning


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = write_models(tmp_path_factory.mktemp("models"))
    for name, settings in (
        ("lora", LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])),
        ("ia3", IA3Config(target_modules=["k_proj"], feedforward_modules=[])),
    ):
        base = AutoModelForCausalLM.from_pretrained(root / "llama")
        get_peft_model(base, settings).save_pretrained(root / name)
    return root


def check(models: Path, tuning: FinetuneConfig, adapter: str | None = None) -> None:
    found = None if adapter is None else str(models / adapter)
    check_finetuning(ModelConfig(path=str(models / "llama"), adapter=found), tuning, models / "out")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_can_be_trained_is_let_through(models: Path, kind: str) -> None:
    check(models, FinetuneConfig.model_validate({"kind": kind}))
    check(models, FinetuneConfig(r=4, alpha=8), "lora")
    assert not (models / "out").exists()


def test_modules_that_are_not_there(models: Path) -> None:
    with pytest.raises(ModelError, match=r"no linear module \['nowhere'\]"):
        check(models, FinetuneConfig(target_modules=["nowhere"]))


def test_settings_that_are_not_those_of_the_adapter(models: Path) -> None:
    with pytest.raises(ConfigError, match="set finetune to the adapter's settings"):
        check(models, FinetuneConfig(r=16), "lora")


def test_an_adapter_that_is_no_lora(models: Path) -> None:
    with pytest.raises(ModelError, match="only LORA"):
        check(models, FinetuneConfig(), "ia3")


def test_an_adapter_is_not_tuned_in_full(models: Path) -> None:
    with pytest.raises(ConfigError, match="merge the adapter"):
        check(models, FinetuneConfig(kind="full"), "lora")
