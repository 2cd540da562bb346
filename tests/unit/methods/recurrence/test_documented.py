"""The constants of docs/methods.md are those of the code."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import gradgate.methods
import gradgate.safety

ROOT = Path(__file__).parents[4]
DOCUMENT = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(?:\w+\.)?(_?[A-Z][A-Z_]+)`", DOCUMENT)))
VALUES = re.findall(r"`(_?[A-Z][A-Z_]+)` = ([\d.]*\d)", DOCUMENT)


@cache
def constants() -> dict[str, set[object]]:
    """The values of each constant of the methods; a name may stand in several files."""
    found: dict[str, set[object]] = {}
    packages = [Path(package.__path__[0]) for package in (gradgate.methods, gradgate.safety)]
    for file in (file for package in packages for file in package.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values = found.setdefault(node.targets[0].id, set())
                if isinstance(node.value, ast.Constant):
                    values.add(node.value.value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_of_the_document_is_in_the_code(name: str) -> None:
    assert name in constants()


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_constant_has_the_value_of_the_document(name: str, value: str) -> None:
    assert float(value) in constants()[name]
