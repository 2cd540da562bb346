"""What is wrong with a model's folder, in words that say what to do."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.identity import load_model
from gradgate.models.loading import load_tokenizer
from helpers import MODEL

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 29721672\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the demo's model, to break."""
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def refusal(path: Path | str) -> str:
    """Why a model is refused, in one line."""
    with pytest.raises(ModelError) as caught:
        load_model(ModelConfig(path=str(path), device="cpu"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without_config(folder: Path, *files: str) -> Path:
    folder.mkdir()
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "it is empty"),
        (["notes.txt"], "no config.json; it holds notes.txt"),
        (["model-Q4.gguf"], r"GGUF.*gguf_file='model-Q4.gguf'.*del model.config.quantization_conf"),
        (["pytorch_model.bin"], "pickled weights.*save_pretrained"),
        (["checkpoint-500/config.json"], "name one of the folders in it: checkpoint-500/"),
        (["adapter_config.json"], "it is an adapter: name its base model"),
    ],
)
def test_a_folder_without_a_configuration_says_what_it_holds(tmp_path, files, message) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(ModelConfig(path=str(without_config(tmp_path / "folder", *files))))


def test_pickled_weights_say_how_to_convert_them(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    assert "from_pretrained(folder).save_pretrained(folder)" in refusal(model)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_is_called_one(model: Path, name: str) -> None:
    (model / name).write_text(POINTER)
    assert f"{name} is a Git LFS pointer" in refusal(model)
    assert "git lfs pull" in refusal(model)


def test_a_tokenizer_that_is_a_pointer_is_called_one(model: Path) -> None:
    (model / "tokenizer.json").write_text(POINTER)
    assert "tokenizer.json is a Git LFS pointer" in refusal(model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_half_a_file_is_called_half_downloaded(model: Path, name: str) -> None:
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: len(content) // 2])
    assert f"{name} is half downloaded" in refusal(model)


def test_a_part_of_the_weights_that_is_missing_is_named(model: Path) -> None:
    names = load_file(model / "model.safetensors")
    (model / "model.safetensors").rename(model / "a.safetensors")
    weight_map = dict.fromkeys(names, "a.safetensors") | {"lm_head.weight": "b.safetensors"}
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert "half downloaded: b.safetensors, which the index names" in refusal(model)
    index.write_text(json.dumps({"weight_map": ["a.safetensors"]}))
    assert "no weight_map" in refusal(model)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(model: Path) -> None:
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")
    assert "config.json is no regular file" in refusal(model)


def test_a_tokenizer_without_a_vocabulary_is_refused(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    assert "none of tokenizer.json, tokenizer.model" in refusal(model)


def test_a_damaged_index_that_is_not_used_is_named_as_well(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "mod')
    assert "model.safetensors.index.json is half downloaded" in refusal(model)


def test_a_tokenizer_with_settings_of_a_wrong_type_is_refused(model: Path) -> None:
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": "x"}))
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(ModelConfig(path=str(model)))


def test_quantised_weights_name_the_package_that_reads_them(model: Path) -> None:
    path = model / "config.json"
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantised}))
    assert "quantised by bitsandbytes in 4 bit" in refusal(model)


def test_more_layers_than_weights_are_never_built(model: Path) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 10**9}))
    assert "num_hidden_layers 1000000000" in refusal(model)


def test_a_file_is_no_folder(model: Path) -> None:
    assert "name the folder" in refusal(model / "model.safetensors")


@pytest.mark.parametrize("path", ["no/such/folder", "tests/nowhere"])
def test_a_relative_path_that_is_missing_is_no_hub_id(path, tmp_path, monkeypatch) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "no such folder" in refusal(path)


def test_weights_that_are_nan_are_named(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    assert "NaN" in refusal(model)
    assert "model.layers.2.mlp.down_proj.weight" in refusal(model)


def test_settings_that_contradict_one_another_are_one_line(model: Path) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_attention_heads": 3}))
    assert "model" in refusal(model)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("kernel", ["kernels-community/attention", "flash_attention_2"])
def test_attention_by_code_of_a_hub_is_refused(model: Path, name: str, kernel: str) -> None:
    """Where a package is missing, transformers takes the hub's code in its place."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {name: kernel}))
    assert f"asks for attention by code of the hub, {kernel!r}" in refusal(model)


def test_attention_of_torch_is_taken(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"attn_implementation": "eager"}))
    load_model(ModelConfig(path=str(model), device="cpu"))
