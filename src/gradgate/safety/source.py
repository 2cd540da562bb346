"""A probing set as the scoring takes it: its gradient is made once a model is there."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from gradgate.common.redaction import redacted
from gradgate.config import SafetyConfig
from gradgate.gradients.safety import SafetyGradient, head_factors
from gradgate.models.loading import LoadedModel
from gradgate.safety.probes import ProbeSet
from gradgate.safety.proxy import VERSION, proxies, refusal_first_tokens

BUILT_IN = "built-in"
_last: dict[tuple[object, ...], SafetyGradient] = {}  # by probing set, model and where it runs


@dataclass(frozen=True)
class ProbeSource:
    """A probing set and where it comes from; a `gradients.safety.SafetySource`.

    Attributes:
        name: Path of its file, without credentials, or `built-in`.
        probes: The set.
    """

    name: str
    probes: ProbeSet

    @classmethod
    def read(cls, config: SafetyConfig) -> Self:
        """Read the configured set.

        Raises:
            ConfigError: The file is missing, no JSON or no probing set.
        """
        name = BUILT_IN if config.probes is None else redacted(config.probes)
        return cls(name, ProbeSet.read(config.probes))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that decides the gradient besides the model."""
        decisive = f"proxy {VERSION} {self.probes.fingerprint}"
        return hashlib.sha256(decisive.encode("ascii")).hexdigest()

    def build(self, loaded: LoadedModel) -> SafetyGradient:
        """The gradient of the safety scores at the model as it is; that of the last one is kept.

        It takes longer than the scores of some hundred rows, and a gate needs it twice.

        Raises:
            ModelError: The model's tokenizer cannot render a probe, or the model is not fit.
        """
        identity, at = loaded.identity, (loaded.dtype, loaded.device)
        key = (self.digest, identity["sha256"], identity["adapter_sha256"], *at)
        if identity["sha256"] is None or key not in _last:
            _last.clear()
            tokens = refusal_first_tokens(self.probes, loaded.tokenizer)
            _last[key] = head_factors(loaded, proxies(self.probes, loaded.tokenizer), tokens)
        return _last[key]
