"""Where the files of a model or adapter lie, at the commit that its revision stands for now."""

from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    check_adapter_folder,
    check_config,
    has_vocabulary,
)

TEMPLATE = "chat_template.jinja"
# What of an adapter's tokenizer is fetched from the hub, if it is there.
_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", TEMPLATE)


@dataclass(frozen=True)
class Located:
    """Where the files of a model or adapter lie; `commit` is None for a folder of the user's."""

    folder: Path
    commit: str | None

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a whole tokenizer, and not a template alone."""
        return (self.folder / "tokenizer_config.json").exists() and has_vocabulary(self.folder)


def _locate(path: str, file: str, revision: str | None = None) -> Located:
    if Path(path).is_dir():
        return Located(Path(path), None)
    if Path(path).exists():
        raise ValueError("it is a file; name the folder that it lies in")
    if _is_local(path):
        raise FileNotFoundError("no such folder")
    where = {"revision": revision} if revision else {}
    found = cached_file(path, file, **where)
    if found is None:
        raise FileNotFoundError(f"it has no {file}")
    folder = Path(found).parent
    return Located(folder, folder.name if folder.parent.name == "snapshots" else None)


def _is_local(path: str) -> bool:
    """Whether a path that is not there can be none of the hub, whose ids are OWNER/NAME."""
    parent = Path(path).parent
    is_beside_others = parent != Path() and parent.is_dir()
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or is_beside_others


def locate_model(config: ModelConfig) -> Located:
    """Find a model and check its configuration; errors as for `load_model`."""
    if config.revision and Path(config.path).is_dir():
        raise ModelError(f"{config.path} is a folder; model.revision belongs to the hub")
    with translated_errors(f"model {config.path!r}"):
        located = _locate(config.path, CONFIG, config.revision)
        check_config(located.folder)
        pinned = {"revision": located.commit} if located.commit else {}
        if find_adapter_config_file(config.path, **pinned) is not None:
            # transformers would silently load the base model that the adapter names
            raise ValueError("it is an adapter; name its base model, and it in model.adapter")
    return located


def locate_adapter(adapter: str) -> Located:
    """Find an adapter and check its files; errors as for `load_model`."""
    with translated_errors(f"adapter {adapter!r}"):
        located = _locate(adapter, ADAPTER_CONFIG)
        if located.commit is not None:
            # peft would fall back to pickled weights
            _locate(adapter, ADAPTER_WEIGHTS, located.commit)
            for name in _TOKENIZER:  # part of the identity, so it has to be there before
                absent = {"_raise_exceptions_for_missing_entries": False}
                cached_file(adapter, name, revision=located.commit, **absent)
        check_adapter_folder(located.folder)
    return located


def options(located: Located) -> dict[str, str | bool]:
    """How transformers loads from there: that very commit, and no code of the repository."""
    revision = {"revision": located.commit} if located.commit else {}
    return {"trust_remote_code": False, **revision}


def from_anywhere(config: ModelConfig) -> ModelConfig:
    """The same model for processes in other folders: what lies here is named by its whole path."""
    here = {name: getattr(config, name) for name in ("path", "adapter")}
    whole = {
        name: str(Path(value).absolute())
        for name, value in here.items()
        if value is not None and Path(value).exists()
    }
    return config.model_copy(update=whole)
