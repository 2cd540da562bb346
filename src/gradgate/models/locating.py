"""Where the files of a model or adapter lie, at the commit that its revision stands for now."""

from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors


@dataclass(frozen=True)
class Located:
    """Where the files of a model or adapter lie; `commit` is None for a folder of the user's."""

    folder: Path
    commit: str | None


def _locate(path: str, file: str, revision: str | None = None) -> Located:
    if path.startswith(("/", "./", "../", "~")) and not Path(path).is_dir():
        raise FileNotFoundError("no such folder")
    where = {"revision": revision} if revision else {}
    folder = Path(cached_file(path, file, **where)).parent
    return Located(folder, folder.name if folder.parent.name == "snapshots" else None)


def locate_model(config: ModelConfig) -> Located:
    """Find a model; errors as for `load_model`."""
    if config.revision and Path(config.path).is_dir():
        raise ModelError(f"{config.path} is a folder; model.revision belongs to the hub")
    with translated_errors(f"model {config.path!r}"):
        located = _locate(config.path, "config.json", config.revision)
        pinned = {"revision": located.commit} if located.commit else {}
        if find_adapter_config_file(config.path, **pinned) is not None:
            # transformers would silently load the base model that the adapter names
            raise ValueError("it is an adapter; name its base model, and it in model.adapter")
    return located


def locate_adapter(adapter: str) -> Located:
    """Find an adapter; errors as for `load_model`."""
    with translated_errors(f"adapter {adapter!r}"):
        located = _locate(adapter, "adapter_config.json")
        # peft would fall back to pickled weights
        return _locate(adapter, "adapter_model.safetensors", located.commit)


def options(located: Located) -> dict[str, str | bool]:
    """How transformers loads from there: that very commit, and no code of the repository."""
    revision = {"revision": located.commit} if located.commit else {}
    return {"trust_remote_code": False, **revision}
