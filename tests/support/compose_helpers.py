"""docker-compose.yaml as Docker Compose resolves it, without an engine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+):\?[^}]+\}")  # one that has to be set and not empty


def variables(text: str) -> set[str]:
    """Names of all variables; any other way to write one is refused."""
    assert "$" not in _VARIABLE.sub("", text), "a variable that may be left empty"
    return set(_VARIABLE.findall(text))


def example() -> dict[str, str]:
    """What .env.example sets; a secret is empty there."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def resolved(values: Mapping[str, str]) -> dict[str, Any]:
    """The file with every variable replaced and every anchor merged."""
    text = _VARIABLE.sub(lambda found: values[found[1]], COMPOSE.read_text(encoding="utf-8"))
    content: dict[str, Any] = yaml.safe_load(text)
    return {name: part for name, part in content.items() if not name.startswith("x-")}
