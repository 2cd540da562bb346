"""The methods by their names; the built-in ones are imported when they are asked for."""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from gradgate.errors import ConfigError

if TYPE_CHECKING:
    from gradgate.methods.contract import Method

MethodT = TypeVar("MethodT", bound="type[Method[Any]]")

_BUILT_IN = {
    "gradsentry": "gradgate.methods.gradsentry.method:GradsentryMethod",
    "recurrence": "gradgate.methods.recurrence.method:RecurrenceMethod",
    "compliance": "gradgate.methods.gradshield.compliance:ComplianceMethod",
    "gradshield": "gradgate.methods.gradshield.method:GradshieldMethod",
    "gradshield_published": "gradgate.methods.gradshield.published:GradshieldPublishedMethod",
    "graceful": "gradgate.methods.peers.graceful:GracefulMethod",
    "cube": "gradgate.methods.peers.cube:CubeMethod",
    "spectral_signatures": "gradgate.methods.peers.spectral_signatures:SpectralSignaturesMethod",
    "activation_clustering": (
        "gradgate.methods.peers.activation_clustering:ActivationClusteringMethod"
    ),
    "spectre": "gradgate.methods.peers.spectre:SpectreMethod",
    "onion": "gradgate.methods.peers.onion:OnionMethod",
    "anchoring": "gradgate.methods.peers.anchoring:AnchoringMethod",
    "larf": "gradgate.methods.peers.larf:LarfMethod",
    "length": "gradgate.methods.peers.baselines:LengthMethod",
    "loss": "gradgate.methods.peers.baselines:LossMethod",
    "random": "gradgate.methods.peers.baselines:RandomMethod",
    "gradient_norm": "gradgate.methods.peers.baselines:GradientNormMethod",
    "refusal_first": "gradgate.methods.peers.baselines:RefusalFirstMethod",
    "keyword": "gradgate.methods.peers.baselines:KeywordMethod",
}
ALIASES = {"gradgate": "recurrence"}  # the default, by the product's name
# Stand beside the methods' sections in `detection`; `method` did, in earlier versions.
RESERVED = (
    "method",
    "methods",
    "power",
    "reference",
    "reference_epochs",
    "rehearsal",
    "rehearsals",
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_registered: dict[str, "type[Method[Any]]"] = {}


def register_method(method: MethodT) -> MethodT:
    """Make a method known by its name, in this process; usable as a decorator.

    Raises:
        ConfigError: The name is taken by another method, or by another setting of `detection`.
    """
    known = _registered.get(method.name)
    if not _NAME.fullmatch(method.name):
        raise ConfigError(f"{method.name!r} is no name of a method; use letters, digits and _")
    if method.name in RESERVED:
        raise ConfigError(f"detection.{method.name} is another setting; choose another name")
    if method.name in (*_BUILT_IN, *ALIASES) or known not in (None, method):
        raise ConfigError(f"there is a method {method.name!r} already; choose another name")
    _registered[method.name] = method
    return method


def method_names() -> list[str]:
    """The names of all methods, without aliases."""
    return [*_BUILT_IN, *_registered]


def canonical_name(name: str) -> str:
    """The name of a method that may be called by an alias.

    Raises:
        ConfigError: There is no such method.
    """
    found = ALIASES.get(name, name)
    if found not in method_names():
        known = ", ".join(method_names())
        raise ConfigError(f"there is no method {name!r}; the known ones are {known}")
    return found


def method_named(name: str) -> "Method[Any]":
    """A method, by its name or an alias; errors as for `canonical_name`."""
    found = canonical_name(name)
    if found in _registered:
        return _registered[found]()
    module, _, attribute = _BUILT_IN[found].partition(":")
    method: Method[Any] = getattr(import_module(module), attribute)()
    return method
