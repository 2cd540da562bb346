"""Loading a causal language model, and reaching its head.

Loading never runs code from a model repository and reads safetensors only.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from httpx import TransportError
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.utils import ModulesToSaveWrapper, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from gradgate.config import ModelConfig
from gradgate.errors import ModelError, TransientError
from gradgate.scoring.spectrum import LogitTransform

DECISIVE = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
HUB_SILENT = (ConnectionError, TimeoutError, TransportError, LocalEntryNotFoundError)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to score: in eval mode, no parameter needs a gradient.

    Attributes:
        head: The output projection; a linear layer, possibly wrapped by peft.
        n_vocabulary: Rows of the head's weight, V.
        n_hidden: Columns of the head's weight, d.
        transform: What the model does to the head's output before the softmax.
        identity: path, revision and digest of model and adapter, for the record.
    """

    model: transformers.PreTrainedModel | PeftModel
    tokenizer: transformers.PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    head: nn.Module
    n_vocabulary: int
    n_hidden: int
    transform: LogitTransform
    identity: dict[str, str | None]


@dataclass(frozen=True)
class IdentifiedModel:
    """A model that is known by the content of its files and need not be loaded.

    Attributes:
        identity: path, revision and digest of model and adapter, for the record.
        load: Loads it; errors as for `load_model`.
    """

    device: torch.device
    dtype: torch.dtype
    identity: dict[str, str | None]
    load: Callable[[], LoadedModel]


def identify_model(config: ModelConfig) -> IdentifiedModel:
    """Find model and adapter at the commit that the revision stands for now, and digest them.

    Raises:
        ModelError: No such model, or no such device.
        TransientError: The hub did not answer.
    """
    device = _device(config.device)
    dtype = _dtype(config.dtype, device)
    model = _locate_model(config)
    adapter = None if config.adapter is None else _locate_adapter(config.adapter)
    folders = [located.folder for located in (model, adapter) if located is not None]
    before = _signature(folders)
    identity = {
        "path": config.path,
        "revision": model.commit,
        "sha256": folder_digest(model.folder),
        "adapter": config.adapter,
        "adapter_sha256": None if adapter is None else folder_digest(adapter.folder),
    }

    def load() -> LoadedModel:
        loaded = _load(config, model, adapter, identity, device, dtype)
        if _signature(folders) != before:
            raise ModelError(f"the files of model {config.path!r} changed meanwhile; run again")
        return loaded

    return IdentifiedModel(device, dtype, identity, load)


def load_model(config: ModelConfig) -> LoadedModel:
    """Load model, tokenizer and adapter, all at the commit that the revision stands for now.

    Raises:
        ModelError: No such model, an unknown type, no safetensors, weights that are not all there,
            or a head that is not linear.
        TransientError: The hub did not answer.
    """
    return identify_model(config).load()


def _load(
    config: ModelConfig,
    located: "_Located",
    adapter: "_Located | None",
    identity: dict[str, str | None],
    device: torch.device,
    dtype: torch.dtype,
) -> LoadedModel:
    tokenizer = _load_tokenizer(config, located)
    model = _load_weights(config, located, dtype)
    if config.adapter is not None and adapter is not None:
        model = _with_adapter(model, config.adapter, adapter)
    model = model.to(device).eval().requires_grad_(False)
    head = find_head(model)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        head=head,
        n_vocabulary=_linear(head).out_features,
        n_hidden=_linear(head).in_features,
        transform=_logit_transform(model.config.get_text_config()),
        identity=identity,
    )


def load_tokenizer(config: ModelConfig) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer alone; errors as for `load_model`."""
    return _load_tokenizer(config, _locate_model(config))


def sample_limit(config: ModelConfig, max_tokens: int) -> int:
    """Longest sample in tokens: `max_tokens`, or less where the model takes less."""
    with _translated_errors(f"the configuration of {config.path!r}"):
        loaded = AutoConfig.from_pretrained(config.path, **_options(_locate_model(config)))
    return min(max_tokens, _max_positions(loaded.get_text_config()) or max_tokens)


@dataclass(frozen=True)
class _Located:
    """Where the files of a model or adapter lie; `commit` is None for a folder of the user's."""

    folder: Path
    commit: str | None


def _locate(path: str, file: str, revision: str | None = None) -> _Located:
    if path.startswith(("/", "./", "../", "~")) and not Path(path).is_dir():
        raise FileNotFoundError("no such folder")
    where = {"revision": revision} if revision else {}
    folder = Path(cached_file(path, file, **where)).parent
    return _Located(folder, folder.name if folder.parent.name == "snapshots" else None)


def _locate_model(config: ModelConfig) -> _Located:
    if config.revision and Path(config.path).is_dir():
        raise ModelError(f"{config.path} is a folder; model.revision belongs to the hub")
    with _translated_errors(f"model {config.path!r}"):
        located = _locate(config.path, "config.json", config.revision)
        pinned = {"revision": located.commit} if located.commit else {}
        if find_adapter_config_file(config.path, **pinned) is not None:
            # transformers would silently load the base model that the adapter names
            raise ValueError("it is an adapter; name its base model, and it in model.adapter")
    return located


def _locate_adapter(adapter: str) -> _Located:
    with _translated_errors(f"adapter {adapter!r}"):
        located = _locate(adapter, "adapter_config.json")
        # peft would fall back to pickled weights
        return _locate(adapter, "adapter_model.safetensors", located.commit)


def _options(located: _Located) -> dict[str, str | bool]:
    revision = {"revision": located.commit} if located.commit else {}
    return {"trust_remote_code": False, **revision}


def _load_tokenizer(config: ModelConfig, located: _Located) -> transformers.PreTrainedTokenizerBase:
    with _translated_errors(f"the tokenizer of {config.path!r}"):
        return AutoTokenizer.from_pretrained(config.path, **_options(located))


def _load_weights(
    config: ModelConfig, located: _Located, dtype: torch.dtype
) -> transformers.PreTrainedModel:
    with _translated_errors(f"model {config.path!r}"):
        model, report = AutoModelForCausalLM.from_pretrained(
            config.path,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **_options(located),
        )
    _require_all(f"model {config.path!r}", set(report["missing_keys"]))
    return model


def _with_adapter(
    model: transformers.PreTrainedModel, adapter: str, located: _Located
) -> PeftModel:
    pinned = {"revision": located.commit} if located.commit else {}
    with _translated_errors(f"adapter {adapter!r}"):
        adapted = PeftModel.from_pretrained(model, adapter, **pinned)
        with safe_open(located.folder / "adapter_model.safetensors", "pt") as file:
            there = set(file.keys())
    needed = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _require_all(f"adapter {adapter!r}", set(needed) - there)
    return adapted


def _require_all(what: str, missing: set[str]) -> None:
    """Refuse what libraries would make up: random weights give random scores."""
    if missing:
        raise ModelError(f"{what} lacks weights: {', '.join(sorted(missing)[:5])}")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} is not there; {torch.cuda.device_count()} GPUs are")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself, and does not emulate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # CPUs without these instructions run bfloat16 more slowly than float32.
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def find_head(model: transformers.PreTrainedModel | PeftModel) -> nn.Module:
    """The module that maps hidden states to the vocabulary.

    Raises:
        ModelError: There is none, or it is not a linear layer: its gradient would not be
            Delta^T H, and a wrong score is worse than none.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output projection; use a causal LM")
    _linear(head)
    return head


def _linear(head: nn.Module) -> nn.Linear:
    inner: nn.Module = head
    if isinstance(inner, ModulesToSaveWrapper):
        inner = inner.modules_to_save[inner.active_adapter]
    if isinstance(inner, LoraLinear):
        inner = inner.get_base_layer()
    if type(inner) is not nn.Linear:
        raise ModelError(
            f"the head is a {type(inner).__name__}; only a plain linear head can be scored exactly"
        )
    return inner


def _logit_transform(config: transformers.PretrainedConfig) -> LogitTransform:
    """Soft-capping (Gemma) and scaling (Cohere multiplies, Granite divides) of the logits.

    A transform that is not known here is found by the check in `scoring`, which compares these
    logits with the model's own.
    """
    values = config.to_dict()
    scale = float(values.get("logit_scale") or 1.0) / float(values.get("logits_scaling") or 1.0)
    return LogitTransform(scale, values.get("final_logit_softcapping"))


def _max_positions(config: transformers.PretrainedConfig) -> int | None:
    """Longest input whose scores do not depend on what it is batched with.

    Dynamic and long RoPE change their frequencies beyond the original length by the longest sample
    of a batch, so that such a model is scored within its original length only.
    """
    values = config.to_dict()
    rope = values.get("rope_parameters") or {}
    original = rope.get("original_max_position_embeddings")
    if rope.get("rope_type") in ("dynamic", "longrope") and original:
        return int(original)
    for name in ("max_position_embeddings", "n_positions"):
        if values.get(name):
            return int(values[name])
    return None


def folder_digest(folder: Path) -> str:
    """sha256 over the files that decide what a model does: weights, configuration, tokenizer.

    Raises:
        ModelError: The index of the weights names a file outside the folder.
    """
    total = hashlib.sha256()
    for file in _decisive_files(folder):
        with (folder / file).open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        total.update(f"{file} {digest}\n".encode())
    return total.hexdigest()


def _decisive_files(folder: Path) -> list[Path]:
    files = {p.relative_to(folder) for pattern in DECISIVE for p in folder.glob(pattern)}
    return sorted(files | _indexed(folder))


def _signature(folders: list[Path]) -> list[tuple[Path, int, int, int]]:
    """What changes when somebody writes or replaces a file, without reading it."""
    files = [folder / file for folder in folders for file in _decisive_files(folder)]
    stats = [(file, file.stat()) for file in files]
    return [(file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def _indexed(folder: Path) -> set[Path]:
    """Files that an index of weights names; they may lie in subfolders."""
    named: set[Path] = set()
    for index in folder.glob("*.safetensors.index.json"):
        named |= {Path(name) for name in json.loads(index.read_text())["weight_map"].values()}
    outside = [str(file) for file in named if file.is_absolute() or ".." in file.parts]
    if outside:
        raise ModelError(f"the weights of {folder} lie outside of it: {', '.join(outside[:5])}")
    return named


@contextmanager
def _translated_errors(what: str) -> Iterator[None]:
    """Tell a hub that did not answer from a model that is wrong or not there.

    transformers wraps both into an OSError; only the chain of causes tells them apart.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TransportError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, HUB_SILENT):
                reason = _first_lines(cause)
                raise TransientError(f"the hub did not answer for {what}: {reason}") from error
            cause = cause.__cause__ or cause.__context__
        raise ModelError(f"cannot load {what}: {_first_lines(error)}") from error


def _first_lines(error: BaseException) -> str:
    """Libraries append pages of advice to their errors; the cause stands in the first lines."""
    return " ".join(str(error).strip().splitlines()[:3]) or type(error).__name__
