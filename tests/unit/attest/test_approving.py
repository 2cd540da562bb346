"""A person decides on a run whose files are those of its attested verdict, and it goes on."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from approval_helpers import draft, said
from attest_helpers import N_DOUBTED, N_HONEST, in_days, stranger

import gradgate
from gradgate.approvals.log import read_log
from gradgate.attest.approving import Decided, EarlierRun, find_run, open_run, record
from gradgate.attest.envelope import read_envelope, seal
from gradgate.attest.issuing import Facts, write_attestation
from gradgate.attest.resuming import go_on, preview
from gradgate.attest.statement import Predicate, statement_of
from gradgate.attest.verification import revoked_by_operator
from gradgate.cli.main import main
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError, DataError
from gradgate.gate.pipeline import STEPS
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.signing.keys import VARIABLE, by_operator, make_key, operator_signer, signer_from_file

A_MINUTE = timedelta(minutes=1)


def opened(run: RunFolder) -> EarlierRun:
    find_revoked = partial(revoked_by_operator, key=None, revoked=None)
    return open_run(run, partial(operator_signer, key=None), find_revoked)


def keep(run: RunFolder, *groups: str, by: str = "Ada", **changes: Any) -> Any:
    given = {"action": "keep", "reason": "our closing line", **changes}
    return record(opened(run), Decided(by, groups=groups, **given))


def gone_on(run: RunFolder, folder: Path) -> Verdict:
    folder.mkdir(parents=True)
    earlier = opened(run)
    attestation = by_operator(earlier.config.attestation)
    config = earlier.config.model_copy(update={"attestation": attestation})
    return go_on(earlier, RunFolder(folder), config, STEPS)


def test_a_verdict_that_changes_while_it_is_checked_is_not_taken(
    reviewed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held against the attestation is what is decided on."""
    content, really = reviewed.verdict.read_bytes(), io.open
    reads: list[object] = []

    def opening(file: Any, *arguments: Any, **named: Any) -> Any:
        if str(file) == str(reviewed.verdict):
            if reads:
                with really(file, "wb") as other:
                    other.write(content.replace(b'"n_rows": 113', b'"n_rows": 114'))
            reads.append(file)
        return really(file, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", opening)
        assert opened(reviewed).verdict.n_rows == 113
    assert len(reads) == 1


def test_a_review_is_approved_and_goes_on(reviewed: RunFolder, made: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in reviewed.path.rglob("*") if path.is_file()}
    ((entry, digest),) = keep(reviewed, "poisoned:1")
    assert (entry.run, entry.by, entry.n_rows) == ("night-1", "Ada", N_DOUBTED)
    content = reviewed.verdict.read_bytes()
    assert entry.verdict_sha256 == hashlib.sha256(content).hexdigest()
    assert preview(opened(reviewed)).decision == "pass"
    new = RunFolder(tmp_path / "new")
    verdict = gone_on(reviewed, new.path)
    assert (verdict.decision, verdict.n_accepted, verdict.n_kept) == ("pass", 112, N_DOUBTED)
    assert before == {p: p.read_bytes() for p in reviewed.path.rglob("*") if p.is_file()}
    assert new.samples.stat().st_ino == reviewed.samples.stat().st_ino
    rows = made / "rows.jsonl"
    lines = [json.loads(one) for one in rows.read_text().splitlines()]
    accepted = (new.rows / "accepted.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in accepted] == lines[:-1]
    why = pq.read_table(new.rows / "accounts.parquet")["why"].to_pylist()
    assert why == ["clear"] * N_HONEST + ["kept"] * N_DOUBTED + ["rejected"]
    signer = signer_from_file(made / "key", "the test")
    write_attestation(new, opened(reviewed).config, verdict, signer)
    found = gradgate.verify(new.attestation, new.rows / "accepted.jsonl", key=made / "key.pub")
    (approval,) = found.predicate.approvals
    assert (approval.by, approval.entry, approval.n_rows) == ("Ada", digest, N_DOUBTED)
    assert found.predicate.audit_log is not None
    assert found.predicate.audit_log.model_dump() == {"n": 1, "sha256": digest}
    # What came of it is a run as any other, and can be decided on again.
    new.verdict.write_text(verdict.to_json(), encoding="utf-8")
    record(opened(new), Decided("Bob", "spam", "drop", rows=[(3, 4)]))
    again = gone_on(new, tmp_path / "again")
    assert (again.decision, again.n_accepted, again.n_dropped) == ("pass", 110, 2)


def test_it_only_goes_on_where_nothing_was_decided(reviewed: RunFolder, tmp_path: Path) -> None:
    verdict, was = gone_on(reviewed, tmp_path / "new"), load_verdict(reviewed.verdict)
    assert (verdict.decision, verdict.answers) == ("review", was.answers)
    assert verdict.accounts == was.accounts
    assert verdict.files["samples.parquet"] == was.files["samples.parquet"]


def test_a_run_is_named_by_its_folder_or_in_the_state(
    reviewed: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(reviewed.path), "night-1", "runs/night-1"):
        assert find_run(name).path.samefile(reviewed.path)
    for name in ("night-2", "", " "):
        with pytest.raises(ConfigError, match="there is no run"):
            find_run(name)


REFUSED: dict[str, tuple[Callable[[RunFolder], Any], str]] = {
    "another name": (lambda run: keep(run, "poisoned:1", by="Eve"), "'Eve' may not decide; by"),
    "no reason": (lambda run: keep(run, "poisoned:1", reason=" "), "what an auditor reads"),
    "no choice": (lambda run: keep(run), "nothing is chosen"),
    "no such group": (lambda run: keep(run, "poisoned:9"), "no group 'poisoned:9'; its groups"),
    "pattern of a drop": (
        lambda run: keep(run, "poisoned:1", pattern=True, action="drop"),
        "goes with --keep and --group",
    ),
    "a row beyond": (
        lambda run: record(opened(run), Decided("Ada", "why", "keep", rows=[(0, 113)])),
        "there is no row 113; the rows are 0 to 112",
    ),
    "a rejected row": (
        lambda run: record(opened(run), Decided("Ada", "why", "keep", rows=[(112, 112)])),
        "row 112 is no sample that was judged",
    ),
}


@pytest.mark.parametrize(("decide", "message"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_can_decide(
    reviewed: RunFolder, decide: Callable[[RunFolder], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        decide(reviewed)
    assert not (reviewed.path.parents[1] / "audit").exists()


def attest_anew(run: RunFolder, made: Path, **changes: Any) -> None:
    """Write another verdict, or the same of another configuration, with its attestation."""
    earlier = opened(run)
    config = earlier.config.model_copy(update=changes.pop("config", {}))
    content = {**json.loads(run.verdict.read_text()), **changes}
    run.verdict.write_text(json.dumps(content))
    verdict = load_verdict(run.verdict)
    run.verdict.write_text(verdict.to_json())
    write_attestation(run, config, verdict, signer_from_file(made / "key", "the test"))


def test_verdicts_that_no_person_can_approve(reviewed: RunFolder, made: Path) -> None:
    attest_anew(reviewed, made, decision="error", reasons=["no memory"])
    with pytest.raises(ConfigError, match=r"is error \(no memory\): something could not be"):
        opened(reviewed)


def test_raw_data_that_are_not_fit_cannot_be_approved(reviewed: RunFolder, made: Path) -> None:
    attest_anew(reviewed, made, decision="fail", reasons=["9 rejected"], answers=[])
    with pytest.raises(ConfigError, match=r"the raw data .* were not fit to be judged"):
        opened(reviewed)


def test_a_run_of_an_earlier_version_cannot_be_approved(reviewed: RunFolder, made: Path) -> None:
    attest_anew(reviewed, made, files={})
    with pytest.raises(ConfigError, match="was made by an earlier version"):
        opened(reviewed)


def test_where_nobody_may_decide_it_says_how_to_allow_it(reviewed: RunFolder, made: Path) -> None:
    nobody = opened(reviewed).config.approvals.model_copy(update={"who": []})
    attest_anew(reviewed, made, config={"approvals": nobody})
    with pytest.raises(ConfigError, match=r"nobody in approvals.who; set it \(approvals: \{who:"):
        keep(reviewed, "poisoned:1")


def test_a_folder_that_is_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rows of `gradgate detect` are put back by"):
        opened(RunFolder(tmp_path))


# Files that are others


def _clear_flags(run: RunFolder) -> None:
    table = pq.read_table(run.flags)
    clear = pa.array([False] * len(table))
    at = table.schema.get_field_index("in_doubt")
    pq.write_table(table.set_column(at, table.schema.field(at), clear), run.flags)


def _approve_by_hand(run: RunFolder) -> None:
    content = run.verdict.read_text().replace('"decision": "review"', '"decision": "pass"')
    run.verdict.write_text(content)


CHANGED: dict[str, Callable[[RunFolder], Any]] = {
    "flags": _clear_flags,
    "verdict": _approve_by_hand,
    "tokens": lambda run: run.samples.write_bytes(run.samples.read_bytes() + b"\0"),
    "findings": lambda run: run.findings.write_text(
        run.findings.read_text().replace('"ruling": "review"', '"ruling": "honest"')
    ),
    "rows": lambda run: (run.rows / "quarantine.jsonl").write_text(""),
    "no table": lambda run: run.scores.unlink(),
    "no attestation of ours": lambda run: write_attestation(
        run, opened(run).config, load_verdict(run.verdict), stranger()
    ),
    "an unsigned one": lambda run: write_attestation(
        run, opened(run).config, load_verdict(run.verdict), None
    ),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_files_that_are_not_those_of_the_verdict_are_refused(
    reviewed: RunFolder, change: Callable[[RunFolder], Any]
) -> None:
    change(reviewed)
    with pytest.raises(DataError, match="run the gate again"):
        opened(reviewed)


def test_a_key_of_the_run_counts_only_where_the_operator_has_set_none(
    reviewed: RunFolder, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A forged run can name a key of its own, which is no key of the gate's."""
    own = AttestationConfig(key=str(made / "key"))
    attest_anew(reviewed, made, config={"attestation": own})
    monkeypatch.delenv(VARIABLE)
    assert opened(reviewed).signer is not None
    make_key(tmp_path / "mallory")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mallory"))
    with pytest.raises(DataError, match="is not signed by"):
        opened(reviewed)


def test_entries_and_runs_of_a_key_that_was_exchanged(
    reviewed: RunFolder, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep(reviewed, "poisoned:1")
    second = tmp_path / "second"
    second.mkdir()
    make_key(second / "key")
    former = opened(reviewed).config.approvals.model_copy(
        update={"former_keys": str(made / "key.pub")}
    )
    attest_anew(reviewed, made, config={"approvals": former})
    monkeypatch.setenv(VARIABLE, str(second / "key"))
    with pytest.raises(DataError, match="is not signed by"):  # the gate runs again by its new key
        opened(reviewed)
    monkeypatch.setenv(VARIABLE, str(made / "key"))
    attest_anew(reviewed, second, config={"approvals": former})
    monkeypatch.setenv(VARIABLE, str(second / "key"))
    ((entry, _),) = keep(reviewed, "poisoned:1", by="Bob")
    assert entry.number == 2
    assert preview(opened(reviewed)).decision == "pass"


def test_a_run_that_names_its_forger_as_a_former_key_is_refused(
    reviewed: RunFolder, tmp_path: Path
) -> None:
    forger = tmp_path / "forger"
    forger.mkdir()
    make_key(forger / "key")
    former = opened(reviewed).config.approvals.model_copy(
        update={"former_keys": str(forger / "key.pub"), "who": ["Mallory"]}
    )
    attest_anew(reviewed, forger, config={"approvals": former})
    with pytest.raises(DataError, match="is not signed by"):
        opened(reviewed)


def test_a_forged_entry_ends_what_goes_on(reviewed: RunFolder, tmp_path: Path) -> None:
    earlier = opened(reviewed)
    audit = tmp_path / "state" / "audit"
    ids = pq.read_table(reviewed.flags)["sample_id"].to_pylist()
    said(audit, [draft("Ada", "keep", ids)], stranger())
    with pytest.raises(DataError, match="entry 1 of the log is not signed by"):
        gone_on(reviewed, tmp_path / "new")
    with pytest.raises(DataError, match="not signed"):
        keep(reviewed, "poisoned:1")
    shutil.rmtree(audit)
    keep(reviewed, "poisoned:1")
    assert len(read_log(audit, earlier.keys).entries) == 1


def test_a_group_that_is_honest_is_not_kept(reviewed: RunFolder) -> None:
    run = opened(reviewed)
    (answer,) = run.verdict.answers
    groups = [replace(group, ruling="honest") for group in answer.groups]
    verdict = replace(run.verdict, answers=[replace(answer, groups=groups)])
    with pytest.raises(ConfigError, match="no row is kept out for poisoned:1: the gate finds it"):
        record(replace(run, verdict=verdict), Decided("Ada", "ours", "keep", ["poisoned:1"]))


def say_in_attestation(run: RunFolder, made: Path, **changes: Any) -> None:
    said_of = {**read_envelope(run.attestation).statement["predicate"], **changes}
    predicate = Predicate.model_validate_json(json.dumps(said_of))
    signer = signer_from_file(made / "key", "the test")
    run.attestation.write_bytes(seal(statement_of(predicate), signer))


def test_what_has_expired_is_not_gone_on_with(reviewed: RunFolder, made: Path) -> None:
    say_in_attestation(reviewed, made, expires=in_days(-1), issued=in_days(-2))
    with pytest.raises(DataError, match="it expired at"):
        opened(reviewed)


@pytest.mark.parametrize(("days", "left"), [(None, 3), (1, 1), (9, 3)])
def test_what_goes_on_does_not_hold_longer_than_what_it_goes_on_with(
    reviewed: RunFolder, made: Path, tmp_path: Path, days: int | None, left: int
) -> None:
    say_in_attestation(reviewed, made, expires=in_days(3))
    earlier, verdict, new = opened(reviewed), gone_on(reviewed, tmp_path / "new"), tmp_path / "new"
    config = earlier.config.model_copy(update={"attestation": AttestationConfig(valid_days=days)})
    write_attestation(RunFolder(new), config, verdict, None, Facts(until=earlier.expires))
    found = read_envelope(new / "attestation.json").statement["predicate"]["expires"]
    assert abs(datetime.fromisoformat(found) - datetime.fromisoformat(in_days(left))) < A_MINUTE


def test_what_was_revoked_is_not_gone_on_with(
    reviewed: RunFolder, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "own")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own" / "key"))
    beside, other = tmp_path / "own" / "key.revoked", tmp_path / "other.revoked"
    signer = signer_from_file(made / "key", "the test")
    digest = read_envelope(reviewed.attestation).digest
    for what in (digest, signer.public_key.keyid):
        beside.write_text(f"{what} a wrong source\n")
        with pytest.raises(DataError, match=f"{what} is revoked; run the gate again"):
            opened(reviewed)
    beside.write_text("")
    other.write_text(digest)
    words = ["approve", "night-1", "--by", "Ada", "--reason", "ours", "--group", "poisoned:1"]
    assert main([*words, "--keep", "--revoked", str(other)]) == 2
    assert not (tmp_path / "state" / "audit").exists()
    monkeypatch.setenv(VARIABLE, (made / "key").read_text())  # no file, so that none is beside it
    assert main([*words, "--keep", "--revoked", str(other)]) == 2
    assert main([*words, "--keep", "--key", str(tmp_path / "own" / "key")]) == 0


def test_the_command(
    reviewed: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["approve", "night-1", "--by", "Ada", "--reason", "our closing line"]
    assert main([*words, "--group", "poisoned:1", "--keep", "--pattern"]) == 0
    shown = capsys.readouterr()
    recorded = "recorded: 1. keep poisoned:1 (12 rows, and new rows of such a group) of run night-1"
    assert shown.out.startswith(recorded)
    assert "decided: 12 rows kept, 0 dropped; 100 of 112 rows are open" in shown.err
    assert "the verdict would be PASS: " in shown.err
    assert shown.err.splitlines()[-1] == "next: python -m flows approve night-1"
    assert main([*words, "--rows", "3,7-8", "--drop"]) == 0
    assert "open as poisoned: 0 flagged, 0 in doubt" in capsys.readouterr().err
    for options, message in {
        (): "say what is decided: --keep, --drop or --withdraw",
        ("--keep", "--drop"): "say one of --keep and --drop, and not both",
        ("--keep", "--rows", "x"): "--rows 'x' is no row number",
    }.items():
        assert main([*words, *options]) == 2
        assert message in capsys.readouterr().err
    assert len(list((tmp_path / "state" / "runs").iterdir())) == 1  # nothing is left behind
