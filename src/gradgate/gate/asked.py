"""What a method and its canaries are asked with.

The model that scored, how likely it finds texts, the probing set, the trusted reference, and how
groups are rehearsed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradgate.common.state import rehearsals, score_store
from gradgate.data.prepare import Prepared
from gradgate.data.reference import reference_samples
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from gradgate.gate.flags import Asked
from gradgate.methods.contract import Method, ModelAccess
from gradgate.methods.registry import method_named
from gradgate.methods.rehearsal.by_reference import ByReference
from gradgate.methods.rehearsal.rehearse import Rehearsal
from gradgate.models.handle import ConfiguredModel, ModelHandle
from gradgate.power.other_scores import CanaryModel, OtherScores
from gradgate.safety.source import ProbeSource
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.likelihood import Likelihood


def probes_of(config: ScoreConfig) -> ProbeSource | None:
    """The probing set, where a method of the gate needs one.

    Raises:
        ConfigError: Its file cannot be used.
    """
    if not isinstance(config, GateConfig):
        return None
    if not any(method_named(name).needs_safety for name in config.detection.methods):
        return None
    return ProbeSource.read(config.safety)


def store_of(config: ScoreConfig) -> Path | None:
    """The score store; None where none is used."""
    return score_store() if config.scoring.store else None


@contextmanager
def trusted_reference(config: GateConfig, model: ModelHandle) -> Iterator[Prepared | None]:
    """The trusted reference, while the block runs; None where there is none."""
    source = config.detection.reference
    if source is None:
        yield None
        return
    limit = model.limit(config.data.max_tokens)
    with reference_samples(source, config.data, model.tokenizer(), limit) as trusted:
        yield trusted


def check_rehearsal(config: GateConfig, model: ModelHandle) -> None:
    """Refuse to rehearse by a model that is loaded.

    Raises:
        ConfigError: It is, and groups are to be rehearsed.
    """
    if config.rehearsal != "off" and not isinstance(model, ConfiguredModel):
        raise ConfigError(
            "detection.rehearsal trains the model, and a loaded one is left as it is; give the "
            "model's path, or set detection.rehearsal to off"
        )


def asked_of(name: str, config: GateConfig, model: ModelHandle, trusted: Prepared | None) -> Asked:
    """A method, with the reference where it takes one.

    Args:
        name: Of the method.
        config: Of the gate.
        model: That scored.
        trusted: The reference, if there is one.
    """
    method = method_named(name)
    others = OtherScores(method, canary_model(config, model))
    ask, source = Likelihood(model, config.scoring, store_of(config)), probes_of(config)
    probes = None if source is None else source.probes
    access = ModelAccess(model, ask, others, probes, ask.describe)
    path = trusted.samples_path if trusted is not None and method.takes_reference else None
    settings = config.detection.settings_of(name)
    rehearsed = _rehearsal(method, config, model), _by_reference(method, config, model)
    return Asked(method, settings, path, access, *rehearsed)


def canary_model(config: GateConfig, model: ModelHandle) -> CanaryModel:
    """What scores canaries as the rows were scored."""
    limit, probes, today = config.data.max_tokens, probes_of(config), config.data.template_date
    return CanaryModel(model, config.scoring, limit, store_of(config), probes, today)


def _rehearsal(method: Method[Any], config: GateConfig, model: ModelHandle) -> Rehearsal | None:
    """How a method's groups are rehearsed; None where they are not."""
    if (mode := config.rehearsal) == "off" or not method.is_rehearsed:
        return None
    limit, today = model.limit(config.data.max_tokens), config.data.template_date
    return Rehearsal(mode, config.rehearsals, config.model, limit, today, rehearsals())


def _by_reference(
    method: Method[Any], config: GateConfig, model: ModelHandle
) -> ByReference | None:
    """How models are trained on the reference; None where the method holds no rows against it."""
    epochs = config.detection.reference_epochs
    if config.detection.reference is None or not epochs or not method.is_rehearsed:
        return None
    is_configured = isinstance(model, ConfiguredModel)
    trained = config.model if is_configured else None
    return ByReference(epochs, config.rehearsals, trained, rehearsals())
