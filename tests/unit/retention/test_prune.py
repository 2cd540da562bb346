"""`gradgate runs`: what is removed, and what is held by an attestation, an approval, a process."""

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from attest_helpers import Attested, in_days
from retention_helpers import (
    GONE,
    age,
    listed,
    point,
    pruned,
    run_of,
    runs,
    write_owner,
)

from gradgate.common.processes import Process
from gradgate.gate.verdict import Verdict
from gradgate.retention import pruning

EXPIRED: dict[str, Any] = {"issued": "2026-01-01T00:00:00Z", "expires": "2026-02-01T00:00:00Z"}
FAILED: dict[str, Any] = {"decision": "fail", "accepted": None}


@pytest.fixture(autouse=True)
def state(fresh_state: Path) -> Path:
    fresh_state.mkdir()
    return fresh_state


def names(state: Path, folder: str = "runs") -> list[str]:
    return sorted(path.name for path in (state / folder).iterdir())


def test_an_empty_state_folder_has_nothing_to_list_or_remove(state: Path) -> None:
    assert runs("list").stdout == f"0.0 MiB: nothing in {state}\n"
    assert pruned("--older-than", "0d").stdout == "0.0 MiB freed: nothing\n"


def test_what_is_old_and_not_in_use_goes(state: Path, attested: Attested) -> None:
    for name, said in (("expired", EXPIRED), ("failed", FAILED)):
        run_of(state, name, attested, **said)
    run_of(state, "young", attested, days=80, **EXPIRED)
    planned = pruned("--older-than", "90d", "--dry-run").stdout
    assert len(names(state)) == 3
    done = pruned("--older-than", "90d").stdout
    assert done.splitlines()[:-1] == planned.splitlines()[:-1]
    assert "removed  runs/expired, " in done
    assert "MiB freed: 2 gate runs" in done.splitlines()[-1]
    assert "MiB would be freed: 2 gate runs" in planned.splitlines()[-1]
    assert names(state) == ["young"]


@pytest.mark.parametrize(
    ("said", "attestation"),
    [({}, "signed"), ({"expires": in_days(30)}, f"signed, until {in_days(30)[:10]}")],
    ids=["until it is revoked", "with an end"],
)
def test_an_attestation_that_still_holds_keeps_its_run(
    state: Path, attested: Attested, said: dict[str, Any], attestation: str
) -> None:
    run_of(state, "valid", attested, **said)
    assert (
        f": data may be verified by its attestation ({attestation})"
        in pruned("--older-than", "90d").stdout
    )
    assert listed()["runs/valid"]["attestation"] == attestation
    assert names(state) == ["valid"]


def test_the_list_says_of_a_rejection_that_it_is_signed_and_not_that_it_is_valid(
    state: Path, attested: Attested
) -> None:
    run_of(state, "rejected", attested, **FAILED)
    shown = runs("list").stdout
    assert "signature" in shown
    assert "valid" not in shown
    assert listed()["runs/rejected"]["attestation"] == "signed"
    assert "data may be verified" not in shown


def test_a_revoked_attestation_or_key_keeps_nothing(state: Path, attested: Attested) -> None:
    run_of(state, "revoked", attested)
    (state / "revoked").write_text(f"{attested.signer.public_key.keyid} lost\n")
    pruned("--older-than", "90d", "--revoked", state / "revoked")
    assert not names(state)


@pytest.mark.parametrize("trained", ["adapter", "model", "adapter.held", "model.held"])
def test_what_was_trained_keeps_its_run(state: Path, attested: Attested, trained: str) -> None:
    folder = run_of(state, "trained", attested, **EXPIRED)
    (folder / trained).mkdir()
    age(folder, 100)
    pruned("--older-than", "90d")
    assert listed()["runs/trained"]["held_by"] == ["what was trained lies there"]


def test_the_last_of_a_gate_stays_and_so_do_as_many_as_asked_for(
    state: Path, attested: Attested
) -> None:
    for i in range(5):
        run_of(state, f"a{i}", attested, days=100 + i, **EXPIRED)
        run_of(state, f"b{i}", attested, days=100 + i, gate="b", **EXPIRED)
    point(state, "a4")  # a clock that was wrong: it is not the newest
    pruned("--older-than", "90d", "--keep-last", "2")
    assert names(state) == ["a0", "a1", "a4", "b0", "b1"]
    pruned("--older-than", "90d")
    assert names(state) == ["a4"]


def test_runs_that_broke_do_not_count_as_the_last_ones(state: Path, attested: Attested) -> None:
    run_of(state, "decided", attested, days=102, **EXPIRED)
    for name in ("broke", "broke again"):
        folder = run_of(state, name, attested, **EXPIRED)
        (folder / "verdict.json").write_text(Verdict("error", ["x"]).to_json())
        age(folder, 100)
    pruned("--older-than", "90d", "--keep-last", "1")
    assert names(state) == ["decided"]


def test_the_gate_of_a_drill_is_of_no_series(state: Path, attested: Attested) -> None:
    folder = run_of(state, "drilled", attested, **EXPIRED)
    (folder / "config.yaml").write_text(f"data: {{source: {state / 'drills' / 'd' / 'x.jsonl'}}}")
    age(folder, 100)
    point(state, "drilled")
    pruned("--older-than", "90d", "--keep-last", "3")
    assert not names(state)
    assert not names(state, "series")


ENVELOPE = {
    "payloadType": "application/vnd.in-toto+json",
    "payload": base64.b64encode(json.dumps({"run": {"folder": "approved"}}).encode()).decode(),
    "signatures": [],
}


@pytest.mark.parametrize(
    "entry",
    [{"run": "approved"}, {"run": "/somewhere/runs/approved"}, {"approved": [{}]}, ENVELOPE],
    ids=["name", "path", "key", "envelope"],
)
def test_an_approval_keeps_the_run_that_it_names(
    state: Path, attested: Attested, entry: dict[str, object]
) -> None:
    for name in ("approved", "other"):
        run_of(state, name, attested, **EXPIRED)
    (state / "audit").mkdir()
    (state / "audit" / "log.jsonl").write_text(f'{{"n": 0}}\n{json.dumps(entry)}\n')
    pruned("--older-than", "90d")
    assert names(state) == ["approved"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"run": "x"}\n{"run": "cut', b"\xff\xfe\n", b"[" * 100_000, None,
        b'{"payloadType": "x", "payload": "no base64!"}', b'{"payloadType": "x"}',
    ],
    ids=["cut", "no text", "deep", "gone", "no payload", "payload gone"],
)  # fmt: skip
def test_a_log_that_cannot_be_read_keeps_everything(
    state: Path, attested: Attested, content: bytes | None
) -> None:
    run_of(state, "expired", attested, **EXPIRED)
    (state / "audit").mkdir()
    name = "log.jsonl" if content is not None else "head"
    (state / "audit" / name).write_bytes(content or b"x")
    assert "kept     runs/expired" in pruned("--older-than", "90d").stdout
    pruned("--older-than", "90d", "--tables-only")
    assert len(names(state / "runs", "expired")) == len(names(attested.run.path, ".")) + 2


@pytest.mark.parametrize("content", ["{", '{"run"', "[]", '{"of": "x"}'])
def test_a_pointer_that_names_no_run_keeps_everything(
    state: Path, attested: Attested, content: str
) -> None:
    run_of(state, "expired", attested, **EXPIRED)
    point(state, "x")
    (state / "series" / "of-a-gate.json").write_text(content)
    assert "does not name a run; delete it" in pruned("--older-than", "90d").stdout
    assert names(state) == ["expired"]


@pytest.mark.parametrize("file", ["attestation.json", "verdict.json"])
def test_a_damaged_run_is_left_to_a_person(state: Path, attested: Attested, file: str) -> None:
    folder = run_of(state, "damaged", attested, **EXPIRED)
    (folder / file).write_text("{}")
    age(folder, 100)
    assert f"its {file} cannot be read" in pruned("--older-than", "90d").stdout
    assert names(state) == ["damaged"]


def test_a_run_that_goes_on_stays(state: Path, attested: Attested) -> None:
    part = run_of(state, "going.part", attested, **EXPIRED)
    trained = run_of(state, "trained", attested, **EXPIRED)
    killed = run_of(state, "killed.part", attested, **EXPIRED)
    for folder in (part, trained):
        write_owner(folder, Process.this())
        age(folder, 100)
    done = pruned("--older-than", "0d").stdout
    assert names(state) == ["going.part", "killed.part", "trained"]
    assert killed.exists()  # MLflow has to hear of it first
    assert "runs/killed.part, " in done
    assert "the next run on this host closes it" in done


def test_nobody_knows_what_goes_on_elsewhere(state: Path, attested: Attested) -> None:
    for name, days in (("new", 0.5), ("old", 2.0)):
        folder = run_of(state, name, attested, **EXPIRED)
        write_owner(folder, Process("another host", GONE.pid, 1.0))
        age(folder, days)
    pruned("--older-than", "0d")
    assert names(state) == ["new"]


def test_drills_comparisons_and_leftovers(state: Path) -> None:
    for folder in ("drills", "comparisons", "rehearsals"):
        for name, days in (("old", 100), ("young", 10)):
            (state / folder / name).mkdir(parents=True)
            (state / folder / name / "content").write_bytes(bytes(2**20))
            age(state / folder / name, days)
    (state / "rehearsals" / "found.json").write_text("{}")
    (state / "series").mkdir()
    left = state / "rehearsals" / "x.0.safetensors", state / "rehearsals" / "x.json.part"
    for path in (*left, state / "series" / "x.part"):
        path.touch()
        age(path, 100)
    age(state / "rehearsals" / "found.json", 100)
    done = pruned("--older-than", "90d").stdout
    assert done.splitlines()[-1] == "3.0 MiB freed: 1 comparisons, 1 drills, 4 leftovers"
    assert (names(state, "drills"), names(state, "comparisons")) == (["young"], ["young"])
    assert (names(state, "rehearsals"), names(state, "series")) == (["found.json", "young"], [])


def test_tables_go_and_what_an_attestation_speaks_of_stays(state: Path, attested: Attested) -> None:
    run_of(state, "valid", attested)
    run_of(state, "expired", attested, **EXPIRED)
    last = run_of(state, "last", attested, **EXPIRED)
    point(state, "last")
    done = pruned("--older-than", "90d", "--tables-only").stdout
    assert "MiB freed: 3 gate runs" in done
    evidence = {"attestation.json", "config.yaml", "dataset.json", "run.json", "verdict.json"}
    for name, rows in (("valid", ["accepted.jsonl"]), ("expired", [])):
        assert evidence <= set(names(state / "runs", name))
        assert not list((state / "runs" / name).glob("*.parquet"))
        assert names(state / "runs" / name, "rows") == rows
    assert [path.name for path in last.glob("*.parquet")] == ["flags.parquet"]
    assert pruned("--older-than", "0d", "--tables-only").stdout.endswith("freed: nothing\n")


def test_a_prune_that_is_killed_is_gone_on_with(
    state: Path, attested: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(state, "expired", attested, **EXPIRED)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert runs("prune", "--older-than", "90d").exit_code == 130
    assert names(state) == ["expired.removed"]
    assert not listed()
    assert "of a prune that was broken off" in pruned("--older-than", "90d").stderr
    assert not names(state)


def test_what_cannot_be_removed_is_named_and_the_rest_goes(
    state: Path, attested: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        run_of(state, name, attested, **EXPIRED)
    delete = pruning._delete

    def refuse(path: Path) -> None:
        if path.name == "one":
            raise PermissionError(13, "Permission denied")
        delete(path)

    monkeypatch.setattr(pruning, "_delete", refuse)
    done = runs("prune", "--older-than", "90d")
    assert done.exit_code == 2
    assert "runs/one cannot be removed: [Errno 13] Permission denied" in done.stderr
    assert names(state) == ["one"]


def test_a_link_is_left_alone(state: Path, attested: Attested, tmp_path: Path) -> None:
    folder = run_of(state, "linked", attested, **EXPIRED)
    folder.rename(tmp_path / "on another disk")
    folder.symlink_to(tmp_path / "on another disk")
    os.utime(folder, (0, 0), follow_symlinks=False)
    assert "is a link; remove it by hand" in pruned("--older-than", "90d").stdout
    assert folder.exists()


@pytest.mark.parametrize("text", ["90", "-1d", "3m", "", "999999d"])
def test_an_age_is_a_number_of_days(text: str) -> None:
    done = runs("prune", f"--older-than={text}")
    assert done.exit_code == 2
    assert "is no number of days such as 90d" in done.stderr


def test_a_source_forges_no_lines(state: Path, attested: Attested) -> None:
    folder = run_of(state, "hostile", attested, **EXPIRED)
    (folder / "config.yaml").write_text('data: {source: "[red]x\\nruns/y\\e[2J"}')
    shown = runs("list").stdout
    assert r"[red]x\nruns/y\x1b[2J" in shown
