"""What the tests of a gate's steps share: a configuration, and its one answer."""

from pathlib import Path
from typing import Any

from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Answer, Verdict
from helpers import MODEL


def config(source: Path | str = "not read", **sections: Any) -> GateConfig:
    """Of method gradsentry with tau = 0.7, without canaries."""
    given: dict[str, dict[str, Any]] = {
        "data": {"source": str(source)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "detection": {
            "methods": ["gradsentry"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
    }
    return GateConfig.model_validate(
        {name: {**given.get(name, {}), **sections.get(name, {})} for name in {**given, **sections}}
    )


def answer_of(verdict: Verdict) -> Answer:
    (answer,) = verdict.answers
    return answer


def gate_of(source: str = "org/data", **changes: object) -> GateConfig:
    """A configuration that nothing is run with; `data__split="test"` sets `data.split`."""
    content: dict[str, dict[str, object]] = {
        "data": {"source": source},
        "model": {"path": "org/model"},
        "tracking": {},
        "scoring": {},
    }
    for name, value in changes.items():
        section, field = name.split("__")
        content[section][field] = value
    return GateConfig.model_validate(content)
