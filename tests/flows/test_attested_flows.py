"""What the flows attest: with a key of a file, of the environment and of a Secret block."""

from pathlib import Path
from typing import Any

import pytest
from flow_helpers import config, finetune_config, folder_of, mlflow_runs
from mlflow import MlflowClient
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

import gradgate
from flows.gate import gate
from flows.gated_finetune import gated_finetune
from gradgate.attest.envelope import read_envelope
from gradgate.config import AttestationConfig, FinetuneConfig, PolicyConfig
from gradgate.release.config import AdapterTestConfig
from gradgate.signing.keys import VARIABLE, make_key
from helpers import diverse_rows, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")
LENIENT = PolicyConfig(max_poison_fraction=0.9, review_above=0.8)
QUICK = FinetuneConfig(epochs=1, batch_size=16, target_modules=["q_proj"])


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def logged(ended: Any) -> str:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[ended.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        return "\n".join(line.message for line in client.read_logs(log_filter=wanted))


def test_a_key_in_a_secret_block(state: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    pem = (tmp_path / "key").read_text()
    Secret(value=pem).save("gate-key", overwrite=True)
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(60))
    wanted = finetune_config(
        source,
        policy=LENIENT,
        finetune=QUICK,
        adapter_test=AdapterTestConfig(enabled=False, trained_on_data=True),
        attestation=AttestationConfig(key="prefect:gate-key", required=True),
    )
    ended = gated_finetune(wanted, return_state=True)
    assert ended.name == "Completed", ended.message
    folder = folder_of(state, ended)
    attestation = folder / "attestation.json"
    data = folder / "rows" / "accepted.jsonl"
    found = gradgate.verify(attestation, data, key=tmp_path / "key.pub")
    gate_run = next(r for r in mlflow_runs(state) if "mlflow.parentRunId" not in r.data.tags)
    assert found.predicate.run.model_dump() == {
        "folder": folder.name,
        "mlflow": gate_run.info.run_id,
        "prefect": str(ended.state_details.flow_run_id),
    }
    tags = gate_run.data.tags
    assert tags["gradgate.run"] == folder.name
    assert (tags["gradgate.attestation"], tags["gradgate.signed_by"]) == (found.digest, found.key)
    assert f"| Attestation | {found.digest} |" in (folder / "adapter" / "README.md").read_text()
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    names = {artifact.path for artifact in client.list_artifacts(gate_run.info.run_id)}
    assert "attestation.json" in names
    secret = pem.splitlines()[1]
    files = [path for path in state.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in logged(ended)


def test_nothing_begins_without_the_key(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(20))
    for attestation, text in {
        AttestationConfig(required=True): "there is no key",
        AttestationConfig(key="prefect:nothing"): "has no Secret block 'nothing'",
        AttestationConfig(key=str(tmp_path / "nothing")): "cannot be read",
    }.items():
        ended = gate(config(source, attestation=attestation), return_state=True)
        assert ended.name == "Failed"
        assert text in str(ended.message)
    assert mlflow_runs(state) == []
    assert not list((state / "runs").glob("*"))


def test_an_error_is_attested_too(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(tmp_path / "key")
    monkeypatch.setenv(VARIABLE, (tmp_path / "key").read_text())
    ended = gate(config(tmp_path / "nothing.jsonl"), return_state=True)
    assert ended.name == "Failed"
    sealed = read_envelope(folder_of(state, ended) / "attestation.json")
    (run,) = mlflow_runs(state)
    assert run.data.tags["gradgate.attestation"] == sealed.digest
    (subject,) = sealed.statement["subject"]
    assert subject["name"] == "configuration"
    assert sealed.statement["predicate"]["decision"] == "error"
    assert len(sealed.signatures) == 1
