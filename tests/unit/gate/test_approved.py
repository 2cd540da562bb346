"""What people have decided takes effect on every count, or on none."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from approval_helpers import draft, said

from gradgate.approvals.log import BrokenLogError, Draft, log_path
from gradgate.approvals.record import GroupEvidence
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.data.sample import fingerprint
from gradgate.errors import DataError
from gradgate.gate.acceptance import NotAcceptedError, accept, require_passing
from gradgate.gate.approved import Approved
from gradgate.gate.changes import compare
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked, answer_of
from gradgate.gate.findings import Findings, Scored
from gradgate.gate.flags import Flagging
from gradgate.gate.pipeline import judge, judge_again
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.power.measurement import NOT_MEASURED
from helpers import MODEL, diverse_rows, one_subject, scored_rows

N, N_DOUBTED = 100, 12
"""Rows, and rows in doubt behind them; the first of these come twice more than is trained on."""
DOUBTED = range(N, N + N_DOUBTED)


def config(**sections: Any) -> GateConfig:
    given: dict[str, Any] = {
        "data": {"source": "not read"},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "detection": {"power": {"attacks": []}},
        "policy": {"max_poison_fraction": 0.08, "review_above": 0.02},
        "approvals": {"who": ["Ada", "Bob"]},
    }
    return GateConfig.model_validate({**given, **sections})


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which twelve rows are in doubt, and row 0 has three copies too many."""
    folder = tmp_path_factory.mktemp("judged")
    clean = diverse_rows(N)
    rows = [*clean, *one_subject(N_DOUBTED, seed=7), *[clean[0]] * 4]
    prepared = scored_rows(folder, rows)
    scored = Scored(prepared.n_samples, {})
    settings = config(approvals={})
    verdict = judge(prepared, scored, settings, RunFolder(folder))
    assert (verdict.decision, verdict.answers[0].n_in_doubt) == ("review", N_DOUBTED + 2)
    return folder


class Night:
    """A copy of the run, and what people say of it."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.run, self.prepared = RunFolder(folder), Prepared.load(folder)
        self.audit = state / "audit"
        lines = pq.read_table(self.run.flags, columns=["row", "sample_id"]).to_pylist()
        self.ids = [line["sample_id"] for line in lines]
        (flagging,) = Findings.load(self.run).flaggings
        (group,) = [group for group in flagging.groups if group.ruling == "review"]
        self.group = GroupEvidence.of(flagging.question, flagging.method, group)

    def rows(self, *numbers: int) -> list[str]:
        return [self.ids[number] for number in numbers]

    def after(self, drafts: Sequence[Draft] = (), **sections: Any) -> Verdict:
        if drafts:
            said(self.audit, drafts)
        settings = config(**sections)
        return judge_again(self.prepared, Findings.load(self.run), settings, self.run)

    def column(self, name: str) -> list[Any]:
        return list(pq.read_table(self.run.flags)[name].to_pylist())


@pytest.fixture
def night(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / "state"))
    return Night(shutil.copytree(judged, tmp_path / "run"), tmp_path / "state")


def test_a_kept_group_counts_as_clear(night: Night, tmp_path: Path) -> None:
    keep = draft("Ada", "keep", night.rows(*DOUBTED), night.group)
    verdict = night.after([keep])
    (answer,) = verdict.answers
    assert (verdict.decision, verdict.n_kept, verdict.n_dropped) == ("pass", N_DOUBTED, 0)
    assert (answer.n_flagged, answer.n_in_doubt, answer.fraction) == (0, 2, 0.0)
    assert answer.interval is not None
    n_open = N + 4
    assert (verdict.n_open, verdict.n_scored) == (n_open, n_open + N_DOUBTED)
    assert answer.reasons[0].startswith(f"0 of {n_open} rows flagged")
    assert "people have decided on 12 rows: 12 kept, 0 dropped" in verdict.reasons
    accepted = [*night.ids[: N + N_DOUBTED], *night.rows(-4, -3)]
    assert verdict.accepted_fingerprint == fingerprint(accepted)
    assert (verdict.n_accepted, verdict.n_quarantined) == (len(accepted), 2)
    require_passing(night.run.path, verdict)
    (approval,) = verdict.approvals
    assert (approval.by, approval.action, approval.n_rows) == ("Ada", "keep", N_DOUBTED)
    assert approval.chosen == night.group.name
    assert verdict.audit_log is not None
    assert (verdict.audit_log.n, verdict.audit_log.sha256) == (1, approval.entry)
    assert night.column("approved") == [None] * N + ["keep"] * N_DOUBTED + [None] * 4
    (tmp_path / "verdict.json").write_text(verdict.to_json())
    assert load_verdict(tmp_path / "verdict.json") == verdict


def test_dropped_rows_are_in_quarantine_whatever_they_were(night: Night) -> None:
    drop = draft("Ada", "drop", night.rows(5, *DOUBTED))
    verdict = night.after([drop])
    assert (verdict.decision, verdict.n_dropped) == ("pass", N_DOUBTED + 1)
    assert verdict.n_accepted == N - 1 + 2
    listed = pq.read_table(night.run.quarantined).to_pylist()
    assert [(line["row"], line["why"]) for line in listed] == [
        *((row, "dropped") for row in (5, *DOUBTED)),
        *((row, "copy") for row in (N + N_DOUBTED + 2, N + N_DOUBTED + 3)),
    ]
    assert verdict.n_quarantined == len(listed)


def test_what_is_open_still_is_limited(night: Night) -> None:
    keep = draft("Ada", "keep", night.rows(*DOUBTED[:6]))
    verdict = night.after([keep])
    assert verdict.decision == "review"
    assert f"6 of {N + N_DOUBTED + 4 - 6} rows" not in verdict.reasons[0]
    assert "8 in doubt (7.27%)" in verdict.reasons[0]
    assert verdict.n_accepted is None


def test_a_surplus_copy_stays_out(night: Night) -> None:
    copies = night.rows(-2, -1)
    verdict = night.after([draft("Ada", "keep", [*copies, *night.rows(*DOUBTED)])])
    # The copies are the same sample as row 0, which is kept with them.
    assert (verdict.decision, verdict.n_kept) == ("pass", N_DOUBTED + 5)
    assert (verdict.answers[0].n_in_doubt, verdict.n_quarantined) == (0, 2)
    assert verdict.n_accepted == N + N_DOUBTED + 2


def test_when_all_rows_are_decided_the_answer_passes(night: Night) -> None:
    verdict = night.after([draft("Ada", "keep", night.ids)])
    (answer,) = verdict.answers
    assert (verdict.decision, verdict.n_open) == ("pass", 0)
    assert (answer.fraction, answer.interval, answer.n_in_doubt) == (None, None, 0)
    assert answer.reasons[0] == "people have decided on all 116 rows"
    night.after([draft("Ada", "drop", night.ids)])
    dropped = night.after()
    assert (dropped.decision, dropped.n_accepted) == ("fail", None)
    assert "not a single row is accepted" in dropped.reasons


def test_what_blocks_counts_open_rows_alone(night: Night) -> None:
    policy = {"max_poison_fraction": 0.08, "review_above": 0.05, "in_doubt": "block"}
    keep = draft("Ada", "keep", night.rows(*DOUBTED[1:]))
    assert night.after([keep], policy=policy).decision == "review"
    rest = draft("Ada", "keep", night.rows(*DOUBTED[:1], -2, -1))
    assert night.after([rest], policy=policy).decision == "pass"


def test_nobody_decides_where_nobody_may(night: Night) -> None:
    keep = draft("Ada", "keep", night.rows(*DOUBTED))
    verdict = night.after([keep], approvals={})
    assert (verdict.decision, verdict.n_kept, verdict.audit_log) == ("review", 0, None)
    assert night.after(approvals={"who": ["Ada", "Bob"], "needed": 2}).decision == "review"
    assert night.after(approvals={"who": ["Bob"]}).decision == "review"
    assert night.after().decision == "pass"
    # What a run has taken over from one before is no decision of today.
    assert night.after(approvals={}).decision == "review"
    assert night.column("approved") == [None] * len(night.ids)


def test_a_broken_log_ends_the_run(night: Night) -> None:
    night.after([draft("Ada", "keep", night.rows(*DOUBTED))])
    path = log_path(night.audit)
    path.write_bytes(path.read_bytes().replace(b"payloadType", b"payloadtype"))
    with pytest.raises(BrokenLogError):
        night.after()
    assert night.after(approvals={}).decision == "review"


@pytest.mark.parametrize("value", ["drop", "keep", "KEEP", None])
def test_a_table_that_says_something_else_is_refused(night: Night, value: str | None) -> None:
    keep = draft("Ada", "keep", night.rows(*DOUBTED))
    verdict = night.after([keep])
    table = pq.read_table(night.run.flags)
    said_of = table["approved"].to_pylist()
    row = 3 if value == "keep" else N
    said_of[row] = value
    at = table.schema.get_field_index("approved")
    changed = table.set_column(at, table.schema.field(at), [pa.array(said_of, pa.string())])
    pq.write_table(changed, night.run.flags)
    found = accept(night.run.path)
    assert (found.n_kept, found.n_dropped) != (verdict.n_kept, verdict.n_dropped)
    if value == "keep":
        assert found.fingerprint == verdict.accepted_fingerprint  # a clear row is accepted anyway
    else:
        with pytest.raises(NotAcceptedError, match="not those of its verdict"):
            require_passing(night.run.path, verdict)


def test_a_method_that_is_not_asked_again_leaves_the_rest_open(night: Night) -> None:
    """A row that a method left open is cleared by people alone."""
    findings = Findings.load(night.run)
    (flagging,) = findings.flaggings
    undecided = replace(flagging, n_flagged=None, undecided_because="the prompts are all the same")
    table = pq.read_table(night.run.flags)
    at = table.schema.get_field_index("flagged")
    nothing = [None] * len(night.ids)
    pq.write_table(
        table.set_column(at, table.schema.field(at), [pa.array(nothing, pa.bool_())]),
        night.run.flags,
    )
    replace(findings, flaggings=[undecided]).save(night.run)
    first = night.after([draft("Ada", "keep", night.rows(*DOUBTED), night.group)])
    assert (first.decision, first.n_kept) == ("review", N_DOUBTED)
    assert night.after([draft("Bob", "keep", night.ids[:N])]).decision == "pass"


def test_an_error_is_no_pass_though_all_rows_are_decided() -> None:
    flagging = Flagging(
        "harmful", "words", None, 0, undecided_because="no model", undecided_means="error"
    )
    answer = answer_of(flagging, 0, config().policy, Checked(), NOT_MEASURED, Approved(n_kept=9))
    assert answer.decision == "error"


def test_kept_rows_are_no_changes_to_worry_about(night: Night, judged: Path) -> None:
    night.after([draft("Ada", "keep", night.rows(*DOUBTED)), draft("Bob", "drop", night.rows(5))])
    changes = compare(judged, None, night.run.path, None)
    assert (changes.n_cleared_since, changes.n_flagged_since) == (N_DOUBTED, 1)


def test_findings_that_are_damaged_are_refused(night: Night) -> None:
    night.run.findings.write_text("{}")
    with pytest.raises(DataError, match="holds no findings"):
        night.after()
