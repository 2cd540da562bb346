"""A model as the steps of a gate need it: by a configuration, or already in memory."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradgate.config import ModelConfig
from gradgate.models.identity import IdentifiedModel, identify_model
from gradgate.models.loading import assemble, limit_of, load_tokenizer, sample_limit
from gradgate.models.skeleton import skeleton_of
from gradgate.models.vocabulary import check_ids, n_embedded

_UNTOLD = ("_name_or_path", "transformers_version")  # where it lay, and who wrote it down


class ModelHandle(Protocol):
    """Gives tokenizer, limit and model, each when it is asked for."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer alone."""

    def limit(self, max_tokens: int) -> int:
        """Longest sample in tokens."""

    def check(self) -> None:
        """Find out what can be known to be wrong before any weight is loaded."""

    def identify(self) -> IdentifiedModel:
        """The model, known by its content and not loaded."""


@dataclass(frozen=True)
class ConfiguredModel:
    """The model of a configuration."""

    config: ModelConfig

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load it; errors as for `load_tokenizer`."""
        return load_tokenizer(self.config)

    def limit(self, max_tokens: int) -> int:
        """From the model's configuration; errors as for `sample_limit`."""
        return sample_limit(self.config, max_tokens)

    def check(self) -> None:
        """Hold tokenizer and embedding against one another; errors as for `load_model`."""
        skeleton = skeleton_of(self.config)
        if self.config.adapter is None:  # an adapter may bring an embedding of its own
            check_ids(self.tokenizer(), n_embedded(skeleton), repr(self.config.path))

    def identify(self) -> IdentifiedModel:
        """Digest its files; errors as for `identify_model`."""
        return identify_model(self.config)


class HeldModel:
    """A model and its tokenizer that somebody has loaded; neither is changed."""

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, name: str
    ) -> None:
        """Take them; `name` stands in the record."""
        self._model = model
        self._tokenizer = tokenizer
        self._name = name

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The one that was given."""
        return self._tokenizer

    def limit(self, max_tokens: int) -> int:
        """From the model's configuration."""
        return limit_of(self._model.config, max_tokens)

    def check(self) -> None:
        """Hold tokenizer and embedding against one another.

        Raises:
            ModelError: The tokenizer gives ids beyond the embedding.
        """
        check_ids(self._tokenizer, n_embedded(self._model), self._name)

    def identify(self) -> IdentifiedModel:
        """Digest the weights and the tokenizer as they are now.

        Raises:
            ModelError: The model has no linear head.
        """
        identity = {"path": self._name, "revision": None, "sha256": self._digest}
        identity |= {"adapter": None, "adapter_sha256": None}
        device, dtype = self._model.device, self._model.dtype
        loaded = assemble(self._model, self._tokenizer, device, dtype, identity)
        return IdentifiedModel(device, dtype, identity, lambda: loaded)

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, values in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            plain = values.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(plain.numpy().tobytes())
        config = self._model.config.to_dict()
        told = {name: config[name] for name in sorted(config) if name not in _UNTOLD}
        digest.update(repr(told).encode())
        digest.update(repr(_adapters(self._model)).encode())
        digest.update(repr(sorted(self._tokenizer.get_vocab().items())).encode())
        digest.update(repr(self._tokenizer.chat_template).encode())
        return digest.hexdigest()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model in eval mode; afterwards each of its modules is in its own again."""
        was_training = {module: module.training for module in self._model.modules()}
        self._model.eval()
        try:
            yield
        finally:
            for module, mode in was_training.items():
                module.training = mode


def _adapters(model: PreTrainedModel | PeftModel) -> list[object]:
    """What of adapters decides beside their weights: settings, scales, and which are at work."""
    if not isinstance(model, PeftModel):
        return []
    settings = [(name, config.to_dict()) for name, config in sorted(model.peft_config.items())]
    states = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
    layers = [
        (name, [getattr(layer, state, None) for state in states])
        for name, layer in model.named_modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    return [settings, layers]
