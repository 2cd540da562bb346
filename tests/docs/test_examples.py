import doctest
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_helpers import ROOT, Document

import gradgate.methods.registry
from gradgate.config import Section, load_config
from gradgate.drill.config import DrillConfig
from gradgate.gate.config import GateConfig
from gradgate.train.config import GatedFinetuneConfig

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
NEEDED = {"data": {"source": "x"}, "model": {"path": "m"}}
GROUPS = ("attest", "audit", "cache", "runs")  # of commands


def pages_with(*languages: str) -> list[str]:
    return [name for name in PAGES if Document(name).fences(*languages)]


@pytest.mark.parametrize("name", pages_with("yaml"))
def test_configurations_load(name: str, tmp_path: Path) -> None:
    for fence in Document(name).fences("yaml"):
        content = NEEDED | yaml.safe_load(fence.text)
        model: type[Section] = GateConfig
        model = GatedFinetuneConfig if "finetune" in content else model
        model = DrillConfig if "drill" in content else model
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        load_config(path, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", pages_with("pycon"))
def test_python_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks `python` and `pycon` of a page are one session; `python signature` is a reference."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gradgate.methods.registry, "_registered", {})
    session: dict[str, Any] = {"__name__": "session"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for fence in Document(name).fences("python", "pycon"):
        if fence.language == "pycon":
            parsed = doctest.DocTestParser().get_doctest(
                fence.text, session, name, name, fence.line
            )
            assert parsed.examples
            outcome = runner.run(parsed, clear_globs=False)
            assert outcome.failed == 0, f"{name}, line {fence.line}"
            session |= parsed.globs
        elif not fence.mark:
            exec(compile(fence.text, f"{name}:{fence.line}", "exec"), session)


def test_the_example_configuration_shows_every_default() -> None:
    shown = load_config(ROOT / "gate.example.yaml", GateConfig)
    default = GateConfig.model_validate(
        {"data": {"source": shown.data.source}, "model": {"path": shown.model.path}}
    )
    # Only an example can show what may stand there.
    gradsentry = shown.detection.gradsentry.model_copy(update={"without_valley": {}})
    detection = shown.detection.model_copy(update={"gradsentry": gradsentry})
    assert shown.model_copy(update={"detection": detection}) == default


def test_the_example_configuration_shows_every_field() -> None:
    text = (ROOT / "gate.example.yaml").read_text(encoding="utf-8")
    for name in fields_of(GatedFinetuneConfig):
        assert re.search(rf"\b{name}\b", text), f"gate.example.yaml lacks {name}"


def fields_of(model: type[Section]) -> set[str]:
    """Names of all fields, also of the sections within; of columns some are enough."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(name)
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Section):
            found |= fields_of(field.annotation)
    return found


def commands() -> list[tuple[str, list[str]]]:
    """The page and the words of every command in the pages."""
    return [
        (name, shlex.split(line.removeprefix("$ "), comments=True))
        for name in PAGES
        for fence in Document(name).fences("console")
        for line in fence.text.splitlines()
        if line.startswith("$ ")
    ]


HELP = """
import contextlib, io, json, sys
import flows.cli, gradgate.cli.main
from gradgate.cli.running import run
apps, shown = {"gradgate": gradgate.cli.main.app, "flows": flows.cli.app}, []
for program, *words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run(apps[program], [*words, "--help-all"]) == 0
    shown.append(out.getvalue())
print(json.dumps(shown))
"""


def help_of(commands: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """What commands say of themselves; one process asks them all, for the width is read once."""
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(list(commands))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return dict(zip(commands, json.loads(done.stdout), strict=True))


def test_commands_and_options_exist() -> None:
    found = commands()
    assert len(found) > 10
    taken: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {("flows",): []}
    for name, words in found:
        match words:
            case ["make", target]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), name
            case [".venv/bin/gradgate", group, command, *options] if group in GROUPS:
                taken.setdefault(("gradgate", group, command), []).append((name, options))
            case [".venv/bin/gradgate", command, *options]:
                taken.setdefault(("gradgate", command), []).append((name, options))
            case [".venv/bin/python", "-m", "flows", command, *_]:
                taken[("flows",)].append((name, [command]))
            case [".venv/bin/prefect" | ".venv/bin/model_signing", *_] | ["export", *_]:
                pass
            case ["cp" | "mv" | "cat" | "echo" | "tar", *_] if name == "docs/guide.md":
                pass  # tests/flows/test_guide.py types them
            case ["docker" | "cp" | "mkdir" | "openssl" | "prefect", *_]:
                assert name == "docs/servers.md"  # tests/servers hold that page against the file
            case ["gradgate", command, *options]:
                taken.setdefault(("gradgate", command), []).append((name, options))
            case _:
                raise AssertionError(f"{name}: nothing is known of the command {words}")
    shown = help_of(taken)
    for prefix, uses in taken.items():
        for name, options in uses:
            assert_taken(name, prefix, options, shown[prefix])


def assert_taken(name: str, command: tuple[str, ...], options: list[str], shown: str) -> None:
    """The options that are named, or the commands of the flows, are in the help."""
    for option in options:
        if option.startswith("--") or command == ("flows",):
            assert re.search(rf"(?<![\w.-]){re.escape(option)}(?![\w.-])", shown), (
                f"{name}: {' '.join(command)} knows no {option}"
            )
