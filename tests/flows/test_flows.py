"""What the flows decide, record and train, in Prefect's temporary server and a real MLflow."""

import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from flow_helpers import (
    SHORT_ANSWERS,
    answer_of,
    artifacts_of,
    config,
    entropy_alone,
    finetune_config,
    folder_of,
    mlflow_runs,
    verdict_of,
)
from method_helpers import LONG, registered, some_rows
from mlflow import MlflowClient
from mlflow.entities import Run
from model_signing import verifying
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from flows.gate import gate
from flows.gated_finetune import gated_finetune
from flows.outcome import exit_code_of
from gradgate.config import (
    AttestationConfig,
    FinetuneConfig,
    ModelConfig,
    PolicyConfig,
    PowerConfig,
    TrackingConfig,
)
from gradgate.gate.config import DetectionConfig
from gradgate.gate.verdict import Changes
from gradgate.methods.gradsentry.config import ThresholdConfig
from gradgate.signing.keys import make_key
from helpers import MODEL, diverse_rows, poisoned_rows, question_rows, read_test, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")
EVIDENCE = DetectionConfig(power=PowerConfig(attacks=["badnets", "adaptive"]))


def digests_of(run: Run) -> dict[str, str]:
    """Digest of each dataset that was logged, by what it was used for."""
    assert run.inputs is not None
    return {str(used.tags[0].value): used.dataset.digest for used in run.inputs.dataset_inputs}


def test_poisoned_data_are_rejected_with_all_evidence(state: Path, tmp_path: Path) -> None:
    rows = question_rows(60, n_poisoned=12)
    ended = gate(config(write_jsonl(tmp_path / "rows.jsonl", rows)), return_state=True)
    assert (ended.name, ended.type.value, exit_code_of(ended)) == ("Rejected", "FAILED", 1)
    folder, verdict = folder_of(state, ended), verdict_of(state, ended)
    assert verdict.decision == "fail"
    assert (verdict.n_scored, answer_of(verdict).n_flagged) == (60, 12)
    assert verdict.accepted_fingerprint is None
    flagged = pq.read_table(folder / "flagged.parquet").to_pandas()
    assert sorted(flagged["row"]) == list(range(48, 60))
    assert not list((state / "runs").glob("*.part"))
    expected = {
        "attestation.json", "config.yaml", "data_docs", "dataset.json",
        "findings.json", "flagged.parquet", "flags.parquet",
        "histogram.png", "quarantined.parquet", "rejected.parquet", "report.html", "run.json",
        "rows", "samples.parquet", "scores.parquet", "validation_gate.json",
        "validation_raw_data.json", "validation_samples.json", "verdict.json", "verdict.md",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == expected
    (run,) = mlflow_runs(state)
    assert run.info.status == "FINISHED"  # the gate did its work
    assert run.data.tags["gradgate.verdict"] == "fail"
    assert run.data.metrics["poison_fraction"] == pytest.approx(0.2)
    assert run.data.metrics["poison_fraction_low"] < 0.2 < run.data.metrics["poison_fraction_high"]
    assert run.data.metrics["threshold"] == 0.7
    assert run.data.metrics["samples_per_second"] > 0
    assert {"entropy/p05", "entropy/p50", "entropy/p95"} <= set(run.data.metrics)
    assert run.data.params["policy.max_poison_fraction"] == "0.1"
    assert len(run.data.tags["gradgate.dataset_fingerprint"]) == 64
    assert verdict.dataset_fingerprint is not None
    assert digests_of(run) == {"gate": verdict.dataset_fingerprint[:32]}
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert logged == expected - {"rows", "samples.parquet"}  # the data stay where they are


def test_a_method_of_somebody_else_is_recorded_like_any_other(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", some_rows())
    with registered():
        detection = DetectionConfig.model_validate(
            {"methods": ["longest"], "longest": {"max_characters": 100}, "power": {"attacks": []}}
        )
        wanted = config(source, detection=detection, policy=PolicyConfig())
        ended = gate(wanted, return_state=True)
    assert ended.name == "NeedsReview"  # 5 % of the rows
    (run,) = mlflow_runs(state)
    assert run.data.tags["gradgate.verdict"] == "review"
    assert run.data.tags["gradgate.harmful.method"] == "longest"
    assert run.data.tags["gradgate.scored_by_device"] == "cpu"
    assert run.data.tags["gradgate.scored_by_dtype"] == "float32"
    assert (
        f"torch {torch.__version__}, transformers " in run.data.tags["gradgate.scored_by_libraries"]
    )
    assert run.data.metrics["harmful/flagged"] == len(LONG)
    assert run.data.params["detection.longest.max_characters"] == "100"
    folder = folder_of(state, ended)
    assert pq.read_table(folder / "flagged.parquet")["row"].to_pylist() == LONG
    assert "longest" in (folder / "report.html").read_text()


def test_evidence_rejects_poisoned_data_and_names_the_poison(state: Path, tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(240), "badnets", 0.1)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    ended = gate(config(source, detection=EVIDENCE, policy=PolicyConfig()), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Rejected", 1)
    folder, verdict = folder_of(state, ended), verdict_of(state, ended)
    answer = answer_of(verdict)
    assert (answer.method, answer.n_flagged, answer.tau) == ("recurrence", 24, None)
    flags = pq.read_table(folder / "flags.parquet").to_pandas()
    assert flags["row"][flags["flagged"]].tolist() == poisoned
    said = flags["reasons"][flags["flagged"]]
    assert all("malicious" in reasons[0] for reasons in said)
    assert pq.read_table(folder / "flagged.parquet")["row"].to_pylist() == poisoned
    assert "malicious" in (folder / "report.html").read_text()
    (run,) = mlflow_runs(state)
    assert run.data.tags["gradgate.method"] == "recurrence"
    assert run.data.metrics["flagged"] == 24
    assert "threshold" not in run.data.metrics


def test_clean_data_pass_by_evidence_and_the_verdict_says_what_it_cannot_see(
    state: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(240))
    tuning = FinetuneConfig(epochs=1, batch_size=32)
    public, _ = make_key(tmp_path / "key", for_models=True)
    wanted = finetune_config(
        source,
        detection=EVIDENCE,
        finetune=tuning,
        adapter_test=SHORT_ANSWERS.model_copy(update={"held_out": 0.1}),
        attestation=AttestationConfig(model_key=str(tmp_path / "key")),
    )
    ended = gated_finetune(wanted, return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Completed", 0)
    folder, answer = folder_of(state, ended), answer_of(verdict_of(state, ended))
    signed = verifying.Config().use_elliptic_key_verifier(public_key=public)
    signed.verify(folder / "adapter", folder / "adapter" / "model.sig")
    assert (answer.n_flagged, answer.n_in_doubt, answer.groups) == (0, 0, [])
    record = json.loads((folder / "adapter" / "training.json").read_text())
    assert (record["n_accepted"], record["n_trained"], len(record["held_out"])) == (240, 216, 24)
    assert read_test(folder / "adapter_test.json").n_held_out == SHORT_ANSWERS.prompts
    (nested,) = [r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune"]
    figures = nested.data.metrics
    assert figures["samples"] == 216
    assert figures["held_out_loss"] < figures["held_out_loss_before"]
    assert answer.power is not None
    assert [power.attack for power in answer.power] == ["badnets", "adaptive"]
    assert answer.blind_to == ["adaptive"]
    run = next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "gate")
    assert run.data.tags["gradgate.blind_to"] == "adaptive"
    assert run.data.metrics["power/badnets"] == 1.0
    assert run.data.metrics["power/adaptive"] == answer.power[1].rate
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "flags.parquet", "verdict.json"} <= logged
    assert "samples.parquet" not in logged
    assert "- Blind to: adaptive\n" in (folder / "verdict.md").read_text()


def test_canaries_of_the_published_method_are_those_above_tau(state: Path, tmp_path: Path) -> None:
    """A target as short as the answers is not seen, and the run says so."""
    detection = entropy_alone(ThresholdConfig(method="fixed", value=0.7), ["badnets", "adaptive"])
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    ended = gate(config(source, detection=detection), return_state=True)
    answer = answer_of(verdict_of(state, ended))
    assert (answer.method, answer.tau) == ("gradsentry", 0.7)
    found = {power.attack: power.rate for power in answer.power or []}
    assert found == {"badnets": 1.0, "adaptive": 0.0}
    assert answer.blind_to == ["adaptive"]
    (run,) = mlflow_runs(state)
    assert run.data.metrics["power/adaptive"] == 0.0
    assert run.data.tags["gradgate.blind_to"] == "adaptive"


def test_a_trusted_reference_is_the_gates_too(state: Path, tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "addsent", 0.03)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    trusted = write_jsonl(tmp_path / "trusted.jsonl", diverse_rows(300, seed=1))
    power = PowerConfig(attacks=[])
    detection = DetectionConfig(reference=str(trusted), reference_epochs=1, power=power)
    ended = gate(config(source, detection=detection), return_state=True)
    flags = pq.read_table(folder_of(state, ended) / "flags.parquet").to_pandas()
    assert flags["row"][flags["flagged"]].tolist() == poisoned
    answer = answer_of(verdict_of(state, ended))
    (group,) = answer.groups
    assert "0 of 300 samples of the trusted reference" in group.reasons[-1]
    assert any("models trained on the reference contradict" in said for said in answer.reasons)
    held = verdict_of(state, ended).reference
    assert held is not None
    assert (held.source, held.n_samples) == (str(trusted), 300)
    (run,) = mlflow_runs(state)
    assert digests_of(run)["reference"] == held.fingerprint[:32]
    assert run.data.tags["gradgate.reference_fingerprint"] == held.fingerprint
    assert run.data.tags["gradgate.dataset_fingerprint"] != held.fingerprint


def test_a_run_says_what_changed_since_the_last_one_that_decided(
    state: Path, tmp_path: Path
) -> None:
    rows = question_rows(60, n_poisoned=12)
    nightly = {"tracking": TrackingConfig(gate="nightly")}
    monday = write_jsonl(tmp_path / "rows-2026-11-23.jsonl", rows)
    first = gate(config(monday, **nightly), return_state=True)
    assert verdict_of(state, first).changes == Changes()
    scores = pq.read_table(folder_of(state, first) / "scores.parquet").to_pandas()
    entropies = scores["spectral_entropy"].sort_values()
    tau = float(entropies.iloc[[9, 10]].mean())  # above the ten lowest
    assert tau < 0.7

    nowhere = ModelConfig(path=str(MODEL), device="nowhere")
    unscored = config(monday, model=nowhere, **nightly)
    assert exit_code_of(gate(unscored, return_state=True)) == 2  # no run to compare with

    changed = [row for row in rows if row not in (rows[0], rows[-1])]
    changed += [*question_rows(3)[1:], {"question": "And what is new?", "answers": ["This."]}]
    kept = scores.iloc[1:-1]["spectral_entropy"]
    detection = entropy_alone(ThresholdConfig(method="fixed", value=tau))
    tuesday = write_jsonl(tmp_path / "rows-2026-11-24.jsonl", changed)
    second = gate(config(tuesday, detection=detection, **nightly), return_state=True)
    folder, changes = folder_of(state, second), verdict_of(state, second).changes
    now = pq.read_table(folder / "flags.parquet").to_pandas()
    n_new_flagged = int(now.query("sample_id not in @scores.sample_id")["flagged"].sum())
    n_flagged = int(((kept > tau) & (kept <= 0.7)).sum())
    assert n_flagged > 20
    assert changes == Changes(
        since=folder_of(state, first).name, n_new=1, n_new_flagged=n_new_flagged, n_gone=2,
        n_flagged_since=n_flagged, n_cleared_since=0, tau_before=0.7,
    )  # fmt: skip
    lines = pq.read_table(folder / "changes.parquet").to_pandas()
    assert lines["change"].value_counts().to_dict() == {"new": 1, "gone": 2, "flagged": n_flagged}
    assert set(lines.query("change == 'gone'")["sample_id"]) == {*scores["sample_id"].iloc[[0, -1]]}
    assert (
        f"1 new, {n_new_flagged} of them flagged or in doubt" in (folder / "verdict.md").read_text()
    )
    runs = {run.info.run_id: run.data for run in mlflow_runs(state)}
    records = [json.loads((folder_of(state, s) / "run.json").read_text()) for s in (first, second)]
    earlier, later = (record["run_id"] for record in records)
    assert runs[later].tags["gradgate.gate"] == "nightly"
    assert runs[later].tags["gradgate.compared_with"] == earlier
    assert "gradgate.compared_with" not in runs[earlier].tags
    names = ("new", "new_flagged", "gone", "flagged", "cleared")
    found = [runs[later].metrics[f"changes/{name}"] for name in names]
    assert found == [1, n_new_flagged, 2, n_flagged, 0]
    assert "changes/new" not in runs[earlier].metrics  # unknown is not zero
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    assert "changes.parquet" in {artifact.path for artifact in client.list_artifacts(later)}

    shutil.rmtree(folder)
    third = gate(config(tuesday, detection=detection, **nightly), return_state=True)
    assert third.name == second.name  # a comparison that fails decides nothing
    lost = verdict_of(state, third).changes
    assert lost is not None
    assert lost.not_compared is not None
    assert (lost.since, lost.n_new) == (folder.name, None)
    assert "there is no folder" in lost.not_compared
    assert "not compared" in (folder_of(state, third) / "verdict.md").read_text()


def test_prefect_shows_verdict_rows_and_progress_and_no_markup_of_the_data(
    state: Path, tmp_path: Path
) -> None:
    rows = question_rows(40, n_poisoned=8)
    rows[-1]["answers"] = ["<img src=x onerror=alert(1)> [go](http://evil.example) and more words"]
    ended = gate(config(write_jsonl(tmp_path / "rows.jsonl", rows)), return_state=True)
    artifacts = artifacts_of(ended)
    assert set(artifacts) == {"verdict", "flagged", "scoring"}  # no page of a server to link to
    verdict = artifacts["verdict"].data
    assert verdict.startswith("# Fail")
    assert f"the file {folder_of(state, ended)}/report.html on " in verdict.replace("\\", "")
    assert "mlflow ui" in verdict
    assert verdict.index("mlflow ui") < verdict.index("What is asked of you")
    name = folder_of(state, ended).name
    assert f"gradgate approve {name} \\\n    --rows 32-39 --keep" in verdict
    (run,) = mlflow_runs(state)
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**Fail**: this dataset must not be used for fine-tuning. [Open")
    assert f"/runs/{run.info.run_id}/artifacts/report.html)" in note
    assert not [line for line in note.splitlines() if line.startswith("#")]
    assert artifacts["scoring"].data == 100.0
    table = json.loads(artifacts["flagged"].data)
    assert len(table) == 8
    shown = json.dumps(table)
    assert "evil.example" in shown
    for live in ("<img", "](http", "http://evil"):
        assert live not in shown


def test_what_the_core_logs_is_in_prefect(state: Path, tmp_path: Path) -> None:
    ended = gate(config(write_jsonl(tmp_path / "rows.jsonl", question_rows(40))), return_state=True)
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[ended.state_details.flow_run_id]))
    deadline = time.monotonic() + 20  # logs are sent in batches
    messages = ""
    while "verdict: " not in messages and time.monotonic() < deadline:
        time.sleep(0.5)
        with get_client(sync_client=True) as client:
            messages = "\n".join(log.message for log in client.read_logs(wanted))
    assert "40 samples scored" in messages
    assert "verdict: " in messages


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (question_rows(1), "too_few"),
        (question_rows(29), "too_few"),
        (question_rows(1) * 40, "degenerate"),
    ],
    ids=["one row", "29 rows", "identical rows"],
)
def test_data_without_a_valley_need_a_review(
    state: Path, tmp_path: Path, rows: list[dict[str, object]], found: str
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    ended = gate(config(source, detection=entropy_alone(ThresholdConfig())), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("NeedsReview", 3)
    verdict = verdict_of(state, ended)
    assert found in verdict.reasons[0]
    assert answer_of(verdict).n_flagged is None
    (run,) = mlflow_runs(state)
    assert run.data.tags["gradgate.verdict"] == "review"
    assert "poison_fraction" not in run.data.metrics  # unknown is not zero


def test_too_many_rejected_rows_fail_before_anything_is_scored(state: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        *question_rows(30),
        {"question": "no answer here?"},
        {"question": 5, "answers": ["x"]},
    ]
    ended = gate(config(write_jsonl(tmp_path / "rows.jsonl", rows)), return_state=True)
    assert ended.name == "Rejected"
    folder = folder_of(state, ended)
    assert not (folder / "scores.parquet").exists()
    limit, why = verdict_of(state, ended).reasons
    assert "expect_rejected_fraction_to_be_at_most" in limit
    assert why.startswith("rejected rows: 1 x ")
    rejected = pq.read_table(folder / "rejected.parquet").to_pylist()
    assert [row["row"] for row in rejected] == [30, 31]
    assert all(row["reason"] for row in rejected)


def test_only_rejected_rows_are_a_fail_and_no_crash(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "", "completion": "x"}] * 3)
    ended = gate(config(source), return_state=True)
    assert ended.name == "Rejected"
    assert verdict_of(state, ended).n_rejected == 3
