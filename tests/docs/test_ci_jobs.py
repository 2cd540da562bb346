"""The jobs of docs/ci, with their own shell lines in a folder as a job has it."""

import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from cli_helpers import gradgate
from markdown_helpers import ROOT

from gradgate.attest.verification import opened
from gradgate.signing.keys import VARIABLE, make_key
from helpers import MODEL, diverse_rows, write_jsonl

NAMES = sorted(path.name for path in (ROOT / "docs" / "ci").glob("*.yaml"))
Lines = list[list[str]]


def lines_of(name: str) -> tuple[dict[str, str], Lines, Lines]:
    """The variables of a file, and the words of the shell lines of its jobs `gate` and `train`."""
    content = yaml.safe_load((ROOT / "docs" / "ci" / name).read_text(encoding="utf-8"))
    if "jobs" in content:
        jobs = {key: steps_of(job) for key, job in content["jobs"].items()}
        return content["env"], jobs["gate"], jobs["train"]
    jobs = {key: list(map(shlex.split, content[key]["script"])) for key in content["stages"]}
    return content["variables"], jobs["gate"], jobs["train"]


def steps_of(job: dict[str, list[dict[str, str]]]) -> Lines:
    return [shlex.split(step["run"]) for step in job["steps"] if "run" in step]


def kept_by(name: str) -> list[str]:
    """Files that the job `gate` keeps."""
    content = yaml.safe_load((ROOT / "docs" / "ci" / name).read_text(encoding="utf-8"))
    if "jobs" not in content:
        assert content["gate"]["artifacts"]["when"] == "always"
        return list(content["gate"]["artifacts"]["paths"])
    (step,) = [
        s for s in content["jobs"]["gate"]["steps"] if "upload-artifact" in s.get("uses", "")
    ]
    assert step["if"] == "always()"
    return list(step["with"]["path"].split())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a configuration and a pinned key; the private one is in the environment."""
    make_key(tmp_path / "secret")
    (tmp_path / "secret.pub").rename(tmp_path / "gate-key.pub")
    monkeypatch.setenv(VARIABLE, (tmp_path / "secret").read_text())
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / ".gradgate"))
    monkeypatch.chdir(tmp_path)
    settings = {"data": {"source": "x"}, "model": {"path": "m"}}
    settings["detection"] = {"power": {"attacks": []}}  # type: ignore[dict-item]
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "data").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(MODEL)
    write_jsonl(tmp_path / "data" / "train.jsonl", diverse_rows(140))
    return tmp_path


def run_lines(lines: Lines, program: str) -> list[int]:
    """Exit codes of the lines that call gradgate; variables and `> FILE` are as in a shell."""
    codes = []
    for words in (words for words in lines if words[0] == program):
        typed, into = (words[:-2], words[-1]) if ">" in words else (words, None)
        done = gradgate(*map(os.path.expandvars, typed[1:]))
        if into is not None:
            Path(into).write_text(done.stdout, encoding="utf-8")
        codes.append(done.exit_code)
    return codes


@pytest.mark.parametrize("name", NAMES)
def test_a_job_gates_and_another_one_verifies(
    name: str, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, gate, train = lines_of(name)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert run_lines(gate, "gradgate") == [0]
    kept = {path: (job / path).read_bytes() for path in kept_by(name)}
    assert {Path(path).name for path in kept} == {
        *("report.html", "verdict.json", "flags.attestation.json", "accepted.jsonl")
    }
    said = opened(job / "flags.attestation.json").payload
    digest = hashlib.sha256(kept["verdict.json"]).hexdigest()
    assert json.loads(said)["predicate"]["verdict_sha256"] == digest
    monkeypatch.delenv(VARIABLE)  # the training has no private key
    shutil.rmtree(job / "flags.rows")
    for path, content in kept.items():  # as artifacts come
        (job / path).parent.mkdir(exist_ok=True)
        (job / path).write_bytes(content)
    assert run_lines(train, "gradgate") == [0]
    accepted = job / "flags.rows" / "accepted.jsonl"
    row = json.dumps({"question": "and now?", "answers": "visit us"})
    accepted.write_bytes(accepted.read_bytes() + row.encode() + b"\n")
    assert run_lines(train, "gradgate") == [1]


@pytest.mark.parametrize("name", NAMES)
def test_without_its_key_a_job_ends_before_it_begins(
    name: str, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    variables, gate, _ = lines_of(name)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert run_lines(gate, "gradgate") == [2]
    assert not (job / "report.html").exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_installs_first_and_the_training_comes_last(name: str) -> None:
    variables, gate, train = lines_of(name)
    install = ["python", "-m", "pip", "install", "$GRADGATE"]
    assert [words[:2] for words in gate] == [install[:2], ["gradgate", "detect"]]
    assert gate[0] == train[0] == install
    assert [words[:2] for words in train[1:]] == [["gradgate", "verify"], ["python", "train.py"]]
    # Of one origin: a bare name would take whatever a public index has under it.
    assert variables["GRADGATE"].startswith("gradgate @ https://")


def test_no_job_goes_on_behind_another_exit_code() -> None:
    for name in NAMES:
        text = (ROOT / "docs" / "ci" / name).read_text(encoding="utf-8")
        for loosened in ("allow_failure", "continue-on-error", "exit-zero", "|| true", "|tee"):
            assert loosened not in text, name
