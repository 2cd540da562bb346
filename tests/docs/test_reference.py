import ast
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_helpers import ROOT, Document
from pydantic import BaseModel

import gradgate
from gradgate.approvals.log import Head
from gradgate.approvals.record import Entry, GroupEvidence
from gradgate.attacks.attack import ATTACKS
from gradgate.common.run_folder import FLAG_FIELDS, SCORE_SCHEMA, RunFolder
from gradgate.compare.config import CompareConfig
from gradgate.config import Section
from gradgate.drill.config import DrillConfig
from gradgate.gate.verdict import (
    Accounts,
    Answer,
    Approval,
    Changes,
    ExpectedPattern,
    ProbingSet,
    TrustedReference,
    Verdict,
)
from gradgate.methods.evidence import Association, Contrast, Example, Group
from gradgate.power.blind_spots import OUT_OF_REACH
from gradgate.power.power import Power

API = Document("docs/api.md")
RECORDS = (
    *(Verdict, Answer, Group, Association, Contrast, Example, Power),
    *(TrustedReference, ProbingSet, ExpectedPattern, Changes, Approval, Head, Accounts),
)


def test_every_public_name_has_a_heading() -> None:
    assert sorted(API.headings("h3")) == sorted(gradgate.__all__)


@pytest.mark.parametrize(
    "name",
    ["detect", "score", "verify", "register_method", "Detection", "GateConfig", "AttestedTraining"],
)
def test_signatures_are_those_of_the_code(name: str) -> None:
    assert documented(name) == parameters_of(getattr(gradgate, name))


def test_the_signature_of_a_method_is_that_of_the_contract() -> None:
    assert documented("Method") == parameters_of(gradgate.Method.detect)


def documented(heading: str) -> list[tuple[str, Any]]:
    """Names and defaults in the signature below a heading; of a class, names alone."""
    (fence,) = [t for t in API.section(heading) if t.type == "fence" and "signature" in t.info]
    (statement,) = ast.parse(fence.content).body
    if isinstance(statement, ast.ClassDef):
        return [(base.id, inspect.Parameter.empty) for base in statement.bases]  # type: ignore[attr-defined]
    assert isinstance(statement, ast.FunctionDef)
    found = statement.args
    missing = [inspect.Parameter.empty] * (len(found.args) - len(found.defaults))
    defaults = [*missing, *map(ast.literal_eval, found.defaults)]
    named = [ast.literal_eval(one) if one else inspect.Parameter.empty for one in found.kw_defaults]
    arguments = zip([*found.args, *found.kwonlyargs], [*defaults, *named], strict=True)
    return [(argument.arg, default) for argument, default in arguments]


def parameters_of(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """The same of the code; a class has no defaults in the reference."""
    is_class = inspect.isclass(function)
    empty = inspect.Parameter.empty
    return [
        (name, empty if is_class else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_the_verdict_is_explained(record: type[Any]) -> None:
    names = [field.name for field in dataclasses.fields(record)]
    assert Document("docs/decisions.md").first_column(record.__name__) == names


@pytest.mark.parametrize("record", [Entry, GroupEvidence])
def test_every_field_of_the_log_is_explained(record: type[BaseModel]) -> None:
    found = Document("docs/approvals.md").first_column(record.__name__)
    assert found == [*record.model_fields]


def test_every_column_is_explained() -> None:
    explained = Document("docs/scoring.md").first_column("The score table")
    assert explained == [*SCORE_SCHEMA.names, *(field.name for field in FLAG_FIELDS)]


def test_every_file_of_a_run_is_explained() -> None:
    run = RunFolder(Path("run"))
    properties = inspect.getmembers(RunFolder, lambda member: isinstance(member, property))
    names = {getattr(run, name).name for name, _ in properties if name != "part"}
    names.add(run.validation("<suite>").name)
    explained = Document("docs/operating.md").first_column("A run's folder")
    assert sorted(explained) == sorted(names)


def test_every_section_of_the_configuration_is_explained() -> None:
    known = {*sections(DrillConfig, ""), *sections(CompareConfig, "")}
    assert set(API.first_column("Command line")) == known


def test_every_attack_is_explained() -> None:
    cells = Document("docs/operating.md").first_column("Poison")
    names = [name for cell in cells for name in cell.replace("`", "").split(", ")]
    assert names == list(ATTACKS)


def test_what_is_out_of_reach_is_said_in_the_same_words() -> None:
    page = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    assert OUT_OF_REACH in " ".join(page.replace("\n> ", " ").split())


def test_the_directions_are_those_of_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    (shown,) = [
        t for t in Document("docs/architecture.md").section("Directions") if t.type == "fence"
    ]
    assert shown.content.splitlines() == layers


def test_every_package_is_explained() -> None:
    packages = {
        f"gradgate.{path.parent.name}" for path in (ROOT / "src/gradgate").glob("*/__init__.py")
    }
    explained = set(Document("docs/architecture.md").first_column("Packages"))
    assert packages <= explained


def sections(model: type[Section], prefix: str) -> list[str]:
    """Dotted names of all sections below one."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if inspect.isclass(kind) and issubclass(kind, Section):
                found += [f"{prefix}{name}", *sections(kind, f"{prefix}{name}.")]
    return found


def test_pages_that_the_code_names_exist() -> None:
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "flows").glob("*.py")]:
        for page in re.findall(r"docs/\w+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{path} names {page}"
