"""The console blocks of a page, typed in their order as a reader would."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cli_helpers import gradgate
from markdown_helpers import ROOT, Fence
from prefect.testing.cli import CycloptsCliRunner

from flows.cli import app
from gradgate.cli.running import run

# Their commands change the machine or need the network: make says what it would do.
MAKE = ["make", "--dry-run", "--directory", str(ROOT)]


@dataclass(frozen=True)
class Typed:
    """A command of a block, the lines that are said to follow it, and where it stands."""

    command: str
    lines: list[str]
    where: str


def typed(fence: Fence) -> Iterator[Typed]:
    """The commands of a block; a line that does not begin with `$` is printed by the one before."""
    for part in re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield Typed(command, lines, f"line {fence.line}: {command}")


def marks(fence: Fence) -> dict[str, str]:
    """What stands behind the language: `name=value`, or the name of a file."""
    pairs = [word.partition("=") for word in fence.mark.split()]
    return {name: value for name, equals, value in pairs if equals}


@dataclass
class Reader:
    """Types commands in the folder of the test, and holds what is printed against the page.

    Attributes:
        server: Prefect's, which takes the place of the one that a page names.
        hook: Address that takes the place of the receiver of alerts.
        known: Words that a reader replaces, and by what: `RUN`, `NEXT`, `OLD_KEY`.
    """

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    server: str
    hook: str
    known: dict[str, str] = field(default_factory=dict)
    _last: int = 0
    _printed: str = ""

    def types(self, one: Typed) -> None:
        """Run a command; anything but 0 has to be shown by `echo $?` behind it."""
        if one.command == "echo $?":
            assert [str(self._last)] == one.lines, one.where
            self._last = 0
            return
        self.ends()
        self._last, printed = self._run(one.command)
        self._printed = printed
        self._learn(printed)
        for line in one.lines:
            wanted = ".*".join(re.escape(part) for part in line.split("..."))
            found = any(re.fullmatch(wanted, shown.rstrip()) for shown in printed.splitlines())
            assert found or line == "...", f"{one.where}\nlacks: {line}\nprinted:\n{printed}"

    def ends(self) -> None:
        """The command before has not failed, or was seen to."""
        assert self._last == 0, self._printed

    def _learn(self, printed: str) -> None:
        for name in re.findall(r"^evidence: \S+/(\S+)$", printed, re.MULTILINE):
            self.known["NEXT" if "RUN" in self.known else "RUN"] = name
        for key in re.findall(r"^key (\w{64})$", printed, re.MULTILINE):
            self.known.setdefault("OLD_KEY", key)

    def _run(self, command: str) -> tuple[int, str]:
        for name, value in self.known.items():
            command = re.sub(rf"\b{name}\b", value, command)
        match shlex.split(command, comments=True):
            case ["export", *pairs]:
                return self._exported(pairs)
            case ["make", *targets]:
                return shell([*MAKE, *targets])
            case [".venv/bin/gradgate", *words]:
                done = gradgate(*words)
                return done.exit_code, done.stdout + done.stderr
            case [".venv/bin/python", "-m", "flows", *words]:
                self.capfd.readouterr()
                code = run(app, words)
                return code, "".join(self.capfd.readouterr())
            case [".venv/bin/prefect", *words]:
                result = CycloptsCliRunner().invoke(words)
                return result.exit_code, result.output
            case _:
                return shell(["bash", "-c", command])

    def _exported(self, pairs: list[str]) -> tuple[int, str]:
        for pair in pairs:
            name, _, value = pair.partition("=")
            value = {"PREFECT_API_URL": self.server, "GRADGATE_WEBHOOK_URL": self.hook}.get(
                name, value.replace("$PWD", str(Path.cwd()))
            )
            self.monkeypatch.setenv(name, value)
        return 0, ""


def shell(words: list[str]) -> tuple[int, str]:
    """Run a program; its exit code and what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr
