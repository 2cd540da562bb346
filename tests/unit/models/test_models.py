import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils.logging import enable_progress_bar, is_progress_bar_enabled

from gradgate.config import ModelConfig
from gradgate.errors import ModelError, TransientError
from gradgate.models.digest import folder_digest
from gradgate.models.hardware import choose_dtype, is_of_amd
from gradgate.models.identity import load_model
from gradgate.models.loading import load_tokenizer, sample_limit
from helpers import MODEL

CPU = Path("/proc/cpuinfo")
FLAGS = ("flags", "Features")  # as x86 and ARM call them


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the demo's model, to break."""
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def configure(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_loaded_model_is_ready_to_score() -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    assert loaded.dtype == loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.head.weight.shape == (loaded.n_vocabulary, loaded.n_hidden)
    assert loaded.identity["path"] == str(MODEL)
    assert loaded.identity["sha256"] == folder_digest(MODEL)


@pytest.mark.skipif(not CPU.exists(), reason="only Linux lists a processor's instructions here")
def test_auto_is_bfloat16_where_the_processor_multiplies_it_faster() -> None:
    lines = CPU.read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith(FLAGS)).split())
    is_of_amd = "AuthenticAMD" in CPU.read_text()
    is_faster = "amx_bf16" in flags or (is_of_amd and "avx512_bf16" in flags)
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="auto"))
    assert loaded.dtype == loaded.model.dtype == (torch.bfloat16 if is_faster else torch.float32)


@pytest.mark.parametrize(
    ("name", "instructions", "is_faster"),
    [
        ("AMD EPYC", ["avx512_bf16"], True),
        ("Intel Xeon", ["avx512_bf16"], False),
        ("Intel Xeon", ["avx512_bf16", "amx_bf16"], True),
        ("AMD EPYC", [], False),
    ],
)
def test_which_processors_multiply_bfloat16_faster(
    monkeypatch: pytest.MonkeyPatch, name: str, instructions: list[str], is_faster: bool
) -> None:
    known = {"cpu_name": name, **dict.fromkeys(instructions, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    is_of_amd.cache_clear()
    chosen = choose_dtype("auto", torch.device("cpu"))
    is_of_amd.cache_clear()
    assert chosen == (torch.bfloat16 if is_faster else torch.float32)


def test_the_digest_changes_with_a_single_byte(model) -> None:
    before = folder_digest(model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert folder_digest(model) != before


def test_the_digest_changes_with_a_template_of_several(model) -> None:
    digests = [folder_digest(model)]
    (model / "additional_chat_templates").mkdir()
    for text in ("one", "another"):
        (model / "additional_chat_templates" / "tool_use.jinja").write_text(text)
        digests.append(folder_digest(model))
    assert len(set(digests)) == 3


def test_the_digest_changes_with_the_configuration(model) -> None:
    before = folder_digest(model)
    configure(model, rms_norm_eps=0.5)
    assert folder_digest(model) != before


def shard(folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(exist_ok=True)
    weights = (folder / "model.safetensors").rename(folder / name)
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(weights), name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return weights


def test_the_digest_covers_shards_in_subfolders(model) -> None:
    weights = shard(model, "sub/weights.safetensors")
    before = load_model(ModelConfig(path=str(model), device="cpu")).identity
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    assert load_model(ModelConfig(path=str(model), device="cpu")).identity != before


def test_weights_outside_of_the_folder_are_refused(model) -> None:
    shard(model, "../weights.safetensors")
    with pytest.raises(ModelError, match="outside"):
        load_model(ModelConfig(path=str(model), device="cpu"))


def test_a_revision_of_a_folder_is_refused() -> None:
    with pytest.raises(ModelError, match="belongs to the hub"):
        load_model(ModelConfig(path=str(MODEL), revision="v1", device="cpu"))


def test_pickled_weights_are_refused(model) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_model(ModelConfig(path=str(model), device="cpu"))


def test_code_of_a_model_repository_is_never_run(model, tmp_path: Path) -> None:
    configure(model, model_type="custom", auto_map={"AutoConfig": "evil.Config"})
    witness = tmp_path / "ran"
    (model / "evil.py").write_text(f"open({str(witness)!r}, 'w')")
    with pytest.raises(ModelError):
        load_model(ModelConfig(path=str(model), device="cpu"))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "/nowhere/model"}, "no such folder"),
        ({"path": "not a hub id!"}, "cannot load"),
        ({"path": str(MODEL), "device": "tpu"}, "device 'tpu'"),
        ({"path": str(MODEL), "device": "meta"}, "not supported"),
        ({"path": str(MODEL), "device": "cuda:99"}, "not there"),
        ({"path": str(MODEL), "adapter": "/nowhere"}, "adapter"),
    ],
)
def test_what_cannot_be_loaded_is_named(settings, message) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(ModelConfig(**settings))


def test_weights_that_lack_a_part_of_the_model_are_refused(model) -> None:
    configure(model, num_hidden_layers=7)  # transformers would make the seventh up
    with pytest.raises(ModelError, match=r"layers\.6"):
        load_model(ModelConfig(path=str(model), device="cpu"))


def test_a_model_that_is_no_causal_lm_is_refused(model) -> None:
    configure(model, architectures=["T5Model"], model_type="t5")
    with pytest.raises(ModelError, match="T5"):
        load_model(ModelConfig(path=str(model), device="cpu"))


@pytest.fixture
def adapter(tmp_path) -> Path:
    base = AutoModelForCausalLM.from_pretrained(MODEL)
    get_peft_model(base, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def test_an_adapter_is_part_of_the_identity(adapter) -> None:
    settings = ModelConfig(path=str(MODEL), adapter=str(adapter), device="cpu")
    before = load_model(settings).identity
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({k: v + 1 for k, v in tensors.items()}, adapter / "adapter_model.safetensors")
    after = load_model(settings).identity
    assert {key for key in before if before[key] != after[key]} == {"adapter_sha256"}


def test_a_pickled_adapter_is_refused(adapter) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    torch.save(tensors, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_model(ModelConfig(path=str(MODEL), adapter=str(adapter), device="cpu"))


def test_an_adapter_whose_weights_are_of_another_model_is_refused(adapter) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    renamed = {key.replace("layers.0", "layers.99"): value for key, value in tensors.items()}
    save_file(renamed, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="lacks weights"):
        load_model(ModelConfig(path=str(MODEL), adapter=str(adapter), device="cpu"))


def test_a_model_that_names_another_as_its_base_is_refused(model, adapter) -> None:
    shutil.copy(adapter / "adapter_config.json", model)
    with pytest.raises(ModelError, match=r"model\.adapter"):
        load_model(ModelConfig(path=str(model), device="cpu"))


def test_a_hub_that_does_not_answer_may_answer_later() -> None:
    with pytest.raises(
        TransientError, match=r"did not answer for .*, and there is no such folder here"
    ):
        load_tokenizer(ModelConfig(path="somebody/some-model"))


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    """In the hub's own cache, as a download leaves it; nothing is asked of the hub."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--somebody--some-model"
    shutil.copytree(MODEL, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = (
        "from gradgate.config import ModelConfig\n"
        "from gradgate.models.identity import load_model\n"
        "print(load_model(ModelConfig(path='somebody/some-model', device='cpu')).identity)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    identity = ast.literal_eval(done.stdout.splitlines()[-1])
    assert identity["revision"] == commit
    assert identity["sha256"] == folder_digest(MODEL)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 1_000),
        ({"max_position_embeddings": 300}, 300),
        (
            {
                "max_position_embeddings": 900,
                "rope_parameters": {
                    "rope_type": "longrope", "rope_theta": 1e4, "factor": 3.0,
                    "original_max_position_embeddings": 128,
                    "short_factor": [1.0] * 16, "long_factor": [2.0] * 16,
                },
            },
            128,
        ),
    ],
)  # fmt: skip
def test_samples_are_no_longer_than_the_model_scores_exactly(model, changes, limit) -> None:
    configure(model, **changes)
    assert sample_limit(ModelConfig(path=str(model)), 1_000) == limit


def test_loading_draws_no_bar_and_leaves_the_programs_bars(
    capfd: pytest.CaptureFixture[str],
) -> None:
    enable_progress_bar()
    load_model(ModelConfig(path=str(MODEL), device="cpu"))
    assert "Loading weights" not in capfd.readouterr().err
    assert is_progress_bar_enabled()
