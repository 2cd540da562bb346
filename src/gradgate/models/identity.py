"""A model that is known and need not be loaded."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.digest import folder_digest, signature
from gradgate.models.errors import translated_errors
from gradgate.models.hardware import check_places, choose_device, choose_dtype
from gradgate.models.loading import LoadedModel, load_located
from gradgate.models.locating import locate_adapter, locate_model
from gradgate.models.skeleton import require_weights


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
        ModelError: No such model, or no such device or place.
        TransientError: The hub did not answer.
    """
    check_places(config.device_map)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = locate_model(config)
    require_weights(config, model)
    adapter = None if config.adapter is None else locate_adapter(config.adapter)
    folders = [located.folder for located in (model, adapter) if located is not None]
    with translated_errors(f"model {config.path!r}", "read"):
        before = signature(folders)
        identity = {
            "path": config.path,
            "revision": model.commit,
            "sha256": folder_digest(model.folder),
            "adapter": config.adapter,
            "adapter_sha256": None if adapter is None else folder_digest(adapter.folder),
        }

    def load() -> LoadedModel:
        loaded = load_located(config, model, adapter, identity, device, dtype)
        with translated_errors(f"model {config.path!r}", "read"):
            after = signature(folders)
        if after != before:
            raise ModelError(f"the files of model {config.path!r} changed meanwhile; run again")
        return loaded

    return IdentifiedModel(device, dtype, identity, load)


def load_model(config: ModelConfig) -> LoadedModel:
    """Load model, tokenizer and adapter, all at the commit that the revision stands for now.

    Raises:
        ModelError: No such model, an unknown type, no safetensors, weights that are not all there
            or not finite, a tokenizer with more tokens than the embedding, or a head that is not
            linear.
        TransientError: The hub did not answer.
    """
    return identify_model(config).load()
