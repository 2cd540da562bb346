"""What is around a command: other files, pipes that close, signals, files of earlier versions."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import gradgate, gradgate_process
from forked import COMMAND as COMMAND_CODE
from forked import Forker

from gradgate.config import load_config
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from helpers import MODEL, diverse_rows, question_rows, write_jsonl

COMMAND = Path(sys.executable).parent / "gradgate"
QUICK = ("--model", MODEL, "--no-power", "--no-store")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", diverse_rows(120))


# What must not be written over


def test_a_pipe_is_never_replaced_by_a_file(rows: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for command in (
        ("score", rows, "--model", MODEL, "--output", pipe),
        ("detect", rows, *QUICK, "--output", tmp_path / "f.parquet", "--report", pipe),
        ("poison", rows, "--attack", "badnets", "--rate", "0.2", "--output", pipe),
    ):
        done = gradgate(*command)
        assert (done.exit_code, pipe.is_fifo()) == (2, True)
        assert "is no file" in done.stderr


def test_the_configuration_is_never_written_over(rows: Path, tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(f"data: {{source: {rows}}}\nmodel: {{path: {MODEL}}}\n")
    for command in ("score", "detect"):
        done = gradgate(command, "--config", file, "--output", file)
        assert done.exit_code == 2
        assert "would be written over the configuration" in done.stderr
    assert load_config(file, GateConfig).data.source == str(rows)


@pytest.mark.parametrize(
    ("command", "output", "message"),
    [
        (["detect"], ["--output", "flags.json"], "Parquet is written; name it flags.parquet"),
        (["detect"], ["--output", "flags.CSV"], "Parquet is written; name it flags.parquet"),
        (
            ["detect"],
            ["--output", "flags", "--report", "page.md"],
            "would not be a .md file: HTML is written; name it page.html",
        ),
        (["score"], ["--output", "scores.jsonl"], "name it scores.parquet"),
        (["poison", "--attack", "badnets", "--rate", "0.2"], ["--output", "x.csv"], "JSON lines"),
        (["compare"], ["--output", "table.csv"], "would be a folder with compare.csv"),
    ],
)
def test_a_name_that_promises_another_format_is_refused_before_the_model_is_looked_at(
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    output: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    model = [] if command[0] == "poison" else ["--model", "no-such-model"]
    done = gradgate(*command, rows, *model, *output)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_is_known_by_its_url_too(rows: Path) -> None:
    before = rows.read_bytes()
    done = gradgate(
        "poison", f"file://{rows}", "--attack", "badnets", "--rate", "0.2", "--output", rows
    )
    assert (done.exit_code, rows.read_bytes()) == (2, before)
    assert "would be written into the input" in done.stderr


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_an_output_without_a_name_is_an_error(rows: Path, output: str) -> None:
    for command in (("detect", rows, *QUICK), ("score", rows, "--model", MODEL)):
        done = gradgate(*command, f"--output={output}")
        assert done.exit_code == 2
        assert "is a folder; name a file" in done.stderr


def test_evidence_of_an_earlier_run_does_not_stay_beside_a_refusal(
    rows: Path, tmp_path: Path
) -> None:
    output, report = tmp_path / "flags.parquet", tmp_path / "report.html"
    written = ("--output", output, "--report", report)
    assert gradgate("detect", rows, *QUICK, *written).exit_code == 0
    assert (output.exists(), report.exists()) == (True, True)
    write_jsonl(rows, [{"question": 1, "answers": 2}] * 3)
    assert gradgate("detect", rows, *QUICK, *written).exit_code == 1
    assert (output.exists(), report.exists()) == (False, False)


def test_what_an_earlier_run_has_written_is_not_there_while_another_works(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, own = tmp_path / "out", tmp_path / "out" / "flags.earlier"
    written = ("--output", out / "flags.parquet", "--report", tmp_path / "pages" / "report.html")
    command = ("detect", rows, *QUICK, *written)
    assert gradgate(*command).exit_code == 0
    own.write_text("mine")
    first = (out / "flags.attestation.json").read_bytes()
    names = {"flags.parquet", "flags.rows", "flags.attestation.json", "report.html"}

    def found() -> set[str]:
        return {path.name for folder in (out, tmp_path / "pages") for path in folder.iterdir()}

    def broken(*_: object) -> None:
        assert {name for name in found() if not name.startswith(".")} == {own.name}
        raise ConfigError("it breaks here")

    with monkeypatch.context() as patched:
        patched.setattr("gradgate.cli.detect.run_attested_gate", broken)
        done = gradgate(*command)
    hidden = {f".{name}.gradgate.earlier" for name in names}
    assert (done.exit_code, found()) == (2, {own.name} | hidden)
    kept = out / ".flags.attestation.json.gradgate.earlier"
    assert kept.read_bytes() == first
    assert f"flags.attestation.json of an earlier run is kept as {kept}" in done.stderr
    assert gradgate(*command).exit_code == 0
    assert found() == {own.name} | names
    assert own.read_text() == "mine"


def test_a_score_table_of_an_earlier_run_is_not_there_when_another_breaks(
    rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scores.parquet"
    command = ("score", rows, "--model", MODEL, "--output", output)
    assert gradgate(*command).exit_code == 0
    write_jsonl(rows, [{"question": 1, "answers": 2}])
    assert gradgate(*command).exit_code == 2
    assert not output.exists()


# Pipes and signals


def test_a_reader_who_has_gone_does_not_change_the_exit_code(
    rows: Path, tmp_path: Path, commands: Forker
) -> None:
    errors = tmp_path / "err"
    script = f"set -o pipefail; {COMMAND} detect --help 2>{errors} | true"
    done = subprocess.run(["bash", "-c", script], check=False)
    assert done.returncode == 0, errors.read_text()
    assert "Traceback" not in errors.read_text()
    detect = ["detect", rows, *QUICK, "--json", "--output", tmp_path / "f.parquet"]
    end, pipe = os.pipe()
    os.close(end)
    with open(pipe, "w") as out, errors.open("w") as log:
        assert commands.start(COMMAND_CODE, *detect, stdout=out, stderr=log).wait() == 0
    assert "Traceback" not in errors.read_text()


def test_without_stderr_the_verdict_is_the_same(
    rows: Path, tmp_path: Path, commands: Forker
) -> None:
    detect = ["detect", rows, *QUICK, "--json", "--output", tmp_path / "f.parquet"]
    closed = f"{shlex.join(map(str, [COMMAND, *detect]))} 2>&-"
    done = subprocess.run(["bash", "-c", closed], check=False, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["decision"]) == (0, "pass")
    with (tmp_path / "out").open("w") as out, Path("/dev/full").open("w") as full:
        assert commands.start(COMMAND_CODE, *detect, stdout=out, stderr=full).wait() == 0
    assert json.loads((tmp_path / "out").read_text())["decision"] == "pass"


def test_what_was_asked_for_and_could_not_be_given_is_an_error(
    rows: Path, tmp_path: Path, commands: Forker
) -> None:
    detect = ["detect", rows, *QUICK, "--json", "--output", tmp_path / "f.parquet"]
    done = commands.run(f"import os, sys; os.close(1); sys.stdout = None; {COMMAND_CODE}", *detect)
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_folder_behind(
    tmp_path: Path, commands: Forker, number: int, code: int
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", question_rows(3000))
    folder = tmp_path / "out"
    detect = ["detect", rows, *QUICK, "--output", folder / "f.parquet"]
    # nohup, in which the tests may run, leaves SIGHUP ignored
    heard = f"import signal; signal.signal({number:d}, signal.SIG_DFL); {COMMAND_CODE}"
    with (tmp_path / "log").open("w") as log:
        process = commands.start(heard, *detect, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".f.parquet.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    assert process.wait() == code, (tmp_path / "log").read_text()
    assert list(folder.iterdir()) == []


def test_a_terminal_without_unicode_is_no_obstacle(
    rows: Path, tmp_path: Path, commands: Forker
) -> None:
    output = tmp_path / "ünï.jsonl"
    poison = ["poison", rows, "--attack", "badnets", "--rate", "0.2", "--output", output]
    plain = "[s.reconfigure(encoding='ascii', errors='strict') for s in (sys.stdout, sys.stderr)]"
    done = commands.run(f"import sys; {plain}; {COMMAND_CODE}", *poison)
    assert done.returncode == 0, done.stderr
    assert r"\xfcn\xef.jsonl" in done.stdout


# Files of earlier versions, and YAML


def test_an_option_goes_before_an_old_key_too(rows: Path, tmp_path: Path) -> None:
    file, output = tmp_path / "gate.yaml", tmp_path / "f.parquet"
    file.write_text(
        f"data: {{source: {rows}}}\nmodel: {{path: {MODEL}}}\nscoring: {{store: false}}\n"
        "detection: {method: gradsentry, power: {fewest: 5}}\n"
        "threshold: {method: fixed, value: 0.9}\n"
    )
    done = gradgate(
        *("detect", "--config", file, "--output", output, "--json", "--no-power"),
        *("--detection.gradsentry.threshold.value", "0.8", "--detection.power.min_planted", "6"),
    )
    (answer,) = json.loads(done.stdout)["answers"]
    assert answer["summary"]["tau"] == 0.8
    assert gradgate("score", "--config", file, "--output", output).exit_code == 0


def test_merged_yaml_is_read_and_what_is_nested_too_deeply_is_not(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(
        "data: {source: x}\nmodel: &model {path: m, device: cpu}\n"
        "policy: {<<: {flagged: block, review_above: 0.01}, review_above: 0.02}\n"
    )
    policy = load_config(file, GateConfig).policy
    assert (policy.flagged, policy.review_above) == ("block", 0.02)
    file.write_text("a: " + "[" * 5000)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(file, GateConfig)


def test_help_and_version_still_end_with_0() -> None:
    assert gradgate_process("--help").exit_code == 0
    assert gradgate_process("version").exit_code == 0
