"""The command line as such: help, versions, typing errors, and how little it takes to answer."""

import json
import subprocess
import sys

import pytest
from cli_helpers import gradgate, gradgate_process

import gradgate as package
from gradgate.config import PowerConfig

HEAVY = ["torch", "transformers", "datasets", "numpy", "pandas", "scipy", "pyarrow", "peft"]

ANSWER = """
import contextlib, io, json, sys
sys.argv = ["gradgate", *json.loads(sys.argv[1])]
from gradgate.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        main()
    except SystemExit as end:
        code = end.code
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["version"], 0),
        (["--version"], 0),
        (["detect", "--help"], 0),
        (["detect", "--modle", "x"], 2),
        (["detct"], 2),
        (["detect", "x.jsonl", "--model", "m", "--output", "o", "--scoring.k", "one"], 2),
        (["score", "x.jsonl", "--model", "m"], 2),
        (["cache", "--help"], 0),
    ],
)
def test_an_answer_without_a_run_imports_no_large_library(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    ended, modules = json.loads(done.stdout)
    assert ended == code
    assert "gradgate.cli.main" in modules
    assert set(HEAVY) & set(modules) == set()


LOADING = """
import json, sys
class Ends:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise SystemExit(7)
sys.meta_path.insert(0, Ends())
sys.argv = ["gradgate", *json.loads(sys.argv[1])]
from gradgate.__main__ import main
main()
"""


@pytest.mark.parametrize("command", ["detect", "score", "compare", "prepare"])
def test_a_run_says_at_once_that_it_loads_libraries(command: str) -> None:
    """Before torch is asked for, which is where this process ends."""
    target = "--shards" if command == "prepare" else "--output"
    arguments = [command, "x.jsonl", "--model", "m", target, "out"]
    done = subprocess.run(
        [sys.executable, "-c", LOADING, json.dumps(arguments)], capture_output=True, text=True
    )
    assert done.returncode == 7
    assert done.stderr == "loading PyTorch and the libraries of the model ...\n"
    assert done.stdout == ""


def test_the_version_is_the_packages() -> None:
    for arguments in (["version"], ["--version"]):
        done = gradgate(*arguments)
        assert (done.exit_code, done.stdout) == (0, f"{package.__version__}\n")


def test_help_names_the_commands() -> None:
    for arguments in ([], ["--help"]):
        done = gradgate(*arguments)
        assert done.exit_code == 0
        for command in ("detect", "score", "poison", "cache", "version"):
            assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "--modle", "x"], "error: Unknown option: --modle. Did you mean --mode?\n"),
        (["detct"], 'error: Unknown command "detct". Did you mean "detect"?'),
        (
            ["detect", "x", "--model", "m"],
            "error: detect needs --output; `detect --help` says what it takes",
        ),
        (["detect", "x", "y", "--model", "m", "--output", "o"], "error: "),
        (["detect", "--model", "m", "--model.path", "m", "--output", "o"], "multiple times"),
        (["detect", "--output", "o", "--mode", "croq"], '"crop", "full"'),
        (["cache", "prune", "--max-mib", "-1"], "must not be negative"),
        (["cache", "prune", "--max-mib", "nan"], "must not be negative"),
    ],
)
def test_a_typing_error_is_one_line(arguments: list[str], message: str) -> None:
    done = gradgate(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_short_help_shows_what_a_newcomer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = gradgate_process("detect", "--help")
    assert len(done.stdout.splitlines()) < 50
    for option in ("--output", "--source", "--model", "--methods", "--policy.review_above"):
        assert f"{option} " in done.stdout
    assert "--help-all" in done.stdout
    assert "--data.limits.row_mib" not in done.stdout


def test_the_long_help_is_of_its_call_alone() -> None:
    assert "--data.limits.columns" in gradgate("detect", "--help-all").stdout
    assert "--data.limits.columns" not in gradgate("detect", "--help").stdout
    assert gradgate("verify", "--help-all").stdout == gradgate("verify", "--help").stdout


def test_the_help_of_a_command_says_what_the_fields_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = gradgate_process("detect", "--help-all")  # the width is read once
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert "Longer samples (prompt + target, in tokens) are rejected. [default: 8192]" in shown
    assert "--max-tokens --data.max_tokens INT" in shown
    assert "[choices: crop, full] [default: crop]" in shown
    assert "--store --scoring.store" in shown
    assert "--no-store" in shown
    assert f"[{', '.join(PowerConfig().attacks)}]" in shown
    for section in ("data", "data.columns", "detection.gradsentry.threshold", "policy"):
        assert f"╭─ {section} ─" in done.stdout
