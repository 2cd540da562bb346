"""The files of a model or an adapter on disk, checked before a library reads them."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from gradgate.models.settings_file import read_settings
from gradgate.models.weights_file import read_shapes, require_content

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# The files of a tokenizer that are JSON, and those that are not.
_TOKENIZER_SETTINGS = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json"),
    *("vocab.json", "config.json"),
)
_TOKENIZER_OTHERS = ("tokenizer.model", "spiece.model", "vocab.txt", "merges.txt")
_POINTER_BYTES = 1_024  # a pointer of Git LFS has some 130
_NAMED = 5  # files that a message names
# The package that reads weights quantised by a method.
_QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed_tensors",
}
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def check_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        ValueError: It is missing, not all there or damaged, or asks for a package that is not
            there.
        OSError: It cannot be read.
    """
    if not (folder / CONFIG).exists():
        raise ValueError(f"it has no {CONFIG}; {_contents(folder)}")
    config = read_settings(folder / CONFIG)
    _check_quantisation(config)
    return config


def check_weights(folder: Path) -> None:
    """Check the files of the weights by their headers; errors as for `check_config`."""
    for index in folder.glob("*.safetensors.index.json"):  # also one that is not used: see digest
        indexed_files(index)
    _check_layers(check_config(folder), len(_tensors(folder)))


def check_adapter_folder(folder: Path) -> None:
    """Check an adapter; errors as for `check_config`."""
    if not (folder / ADAPTER_CONFIG).exists():
        raise ValueError(f"it has no {ADAPTER_CONFIG}; {_contents(folder)}")
    read_settings(folder / ADAPTER_CONFIG)
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise ValueError(
            f"it has no {ADAPTER_WEIGHTS}; {_contents(folder)}; pickled weights are not read: "
            "load it with peft and save it again by save_pretrained"
        )
    read_shapes(folder / ADAPTER_WEIGHTS)


def has_vocabulary(folder: Path) -> bool:
    """Whether one of the files of a tokenizer's vocabulary is there."""
    return any((folder / name).exists() for name in VOCABULARIES)


def require_tokenizer_files(folder: Path) -> None:
    """Refuse pointers and empty files; errors as for `check_config`."""
    for name in (*_TOKENIZER_SETTINGS, *_TOKENIZER_OTHERS):
        if (folder / name).exists() and (folder / name).stat().st_size <= _POINTER_BYTES:
            require_content(folder / name)


def explain_tokenizer_files(folder: Path) -> None:
    """Raise what is wrong with the files of a tokenizer that did not load, if anything is.

    It is asked only then: tokenizer.json takes long to read. Errors as for `check_config`.
    """
    if not has_vocabulary(folder):
        raise ValueError(
            f"there is none: the folder has none of {', '.join(VOCABULARIES)}; copy the tokenizer "
            "of the model that this one was made of into it"
        )
    for name in _TOKENIZER_SETTINGS:
        if (folder / name).exists():
            read_settings(folder / name)


def indexed_files(index: Path) -> set[str]:
    """The files that an index of weights names; they may lie in subfolders.

    Raises:
        ValueError: The index is damaged, or names a file outside of the folder.
    """
    named = read_settings(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise ValueError(f"{index.name} is damaged: it has no weight_map from names to files")
    outside = sorted({file for file in named.values() if _is_outside(file)})
    if outside:
        raise ValueError(f"its weights lie outside of the folder: {_some(outside)}")
    return set(named.values())


def _is_outside(file: str) -> bool:
    return PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or "\0" in file


def _tensors(folder: Path) -> set[str]:
    """The names of all tensors; the header of each file is read."""
    if (folder / WEIGHTS).exists():  # goes before an index, as in transformers
        files = [folder / WEIGHTS]
    elif (folder / INDEX).exists():
        files = sorted(folder / name for name in indexed_files(folder / INDEX))
    else:
        raise ValueError(f"it has no {WEIGHTS}; {_contents(folder)}")
    missing = [str(file.relative_to(folder)) for file in files if not file.exists()]
    if missing:
        raise ValueError(
            f"it is half downloaded: {_some(missing)}, which the index names, is not there"
        )
    return {name for file in files for name in read_shapes(file)}


def _check_layers(config: Mapping[str, Any], n_tensors: int) -> None:
    """Refuse more layers than there are weights: building them could take all memory."""
    text = config.get("text_config")
    for settings in (config, text if isinstance(text, dict) else {}):
        for name in _LAYERS:
            n = settings.get(name)
            if isinstance(n, int) and n > n_tensors:
                raise ValueError(f"{CONFIG} says {name} {n}, and there are {n_tensors} weights")


def _check_quantisation(config: Mapping[str, Any]) -> None:
    """Say which package reads quantised weights, where it is not there."""
    quantised = config.get("quantization_config")
    if not isinstance(quantised, dict):
        return
    method = str(quantised.get("quant_method"))
    package = _QUANTISERS.get(method)
    if package is None or importlib.util.find_spec(package) is not None:
        return
    bits = {"load_in_4bit": " in 4 bit", "load_in_8bit": " in 8 bit"}
    how = next((text for key, text in bits.items() if quantised.get(key) is True), "")
    raise ValueError(
        f"its weights are quantised by {method}{how}, and the package {package} is not installed; "
        "name the model that it was made of, or install the package where there is a GPU"
    )


def _contents(folder: Path) -> str:
    """What a folder holds instead, and what to do about it."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    gguf = [name for name in names if name.endswith(".gguf")]
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    inner = [name for name in names if name.endswith("/") and (folder / name / CONFIG).exists()]
    if inner:
        return f"name one of the folders in it: {_some(inner)}"
    if ADAPTER_CONFIG in names and CONFIG not in names:
        return "it is an adapter: name its base model, and it in model.adapter"
    if gguf:
        return (
            f"it holds GGUF ({_some(gguf)}), which is quantised for llama.cpp; name the model in "
            "safetensors that it was made of, or convert it: AutoModelForCausalLM.from_pretrained("
            f"folder, gguf_file={gguf[0]!r}), then `del model.config.quantization_config` and "
            "save_pretrained, and the same for AutoTokenizer"
        )
    if pickled:
        return (
            f"it holds pickled weights ({_some(pickled)}), which can run code and are not read; "
            "if you trust them, convert them: AutoModelForCausalLM.from_pretrained(folder)"
            ".save_pretrained(folder)"
        )
    return f"it holds {_some(names)}" if names else "it is empty"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
