"""What a run in MLflow says of the configuration, the data and the verdict."""

import getpass
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from tracking_helpers import ROOT, config, read

import tasks.tracking as tracking
from gradgate import __version__
from gradgate.gate.verdict import Answer, Changes, Verdict
from gradgate.power.power import Power
from gradgate.train.config import GatedFinetuneConfig
from tasks.tracking import TrackedRun, start_run

FINGERPRINT = "0123456789abcdef" * 4
SWITCHES = ["MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"]


def test_every_config_value_is_a_param(state: Path) -> None:
    given = GatedFinetuneConfig.model_validate(config().model_dump())
    params = read(start_run(given, "finetune", "params")).data.params
    for section, values in given.model_dump().items():
        for key in values:
            names = [
                n for n in params if n == f"{section}.{key}" or n.startswith(f"{section}.{key}.")
            ]
            assert names, f"{section}.{key}"
    assert params["policy.max_poison_fraction"] == "0.05"
    assert params["detection.gradsentry.without_valley.too_few"] == "fail"
    assert params["data.split"] == "None"
    assert params["finetune.target_modules"] == "all-linear"


def test_tags(state: Path) -> None:
    tags = read(start_run(config(), "gate", "tags")).data.tags
    assert tags["gradgate.version"] == __version__
    assert tags["gradgate.kind"] == "gate"
    assert tags["gradgate.model"] == "org/model"
    assert tags["gradgate.model_revision"] == "abc"
    assert tags["gradgate.git_sha"]
    assert tags["mlflow.user"] == getpass.getuser()
    assert "mlflow.parentRunId" not in tags


def test_git_sha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "tracking.py"
    settings, page = tmp_path / "prefect.yaml", tmp_path / "src" / "page.html"
    page.parent.mkdir()
    for path in (module, settings, page):
        path.write_text("1")
    monkeypatch.setattr(tracking, "__file__", str(module))
    assert tracking._git_sha() == "unknown"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert tracking._git_sha() == "unknown"  # inside a repository, but not of it
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    clean = tracking._git_sha()
    assert len(clean) == 40
    settings.write_text("2")
    assert tracking._git_sha() == clean  # the guide has everybody write into prefect.yaml
    module.write_text("2")
    assert tracking._git_sha() == f"{clean}-dirty"
    subprocess.run([*git, "checkout", "-q", "."], check=True)
    page.write_text("2")
    assert tracking._git_sha() == f"{clean}-dirty"


def test_an_account_without_a_name(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424)  # a container's, which no file names
    assert "mlflow.user" not in read(start_run(config(), "gate", "nobody")).data.tags


def test_nested_run_is_linked(state: Path) -> None:
    parent = start_run(config(), "gate", "outer")
    child = start_run(config(), "finetune", "inner", parent)
    assert read(child).data.tags["mlflow.parentRunId"] == parent.run_id
    assert child.experiment_id == parent.experiment_id
    assert child.run_id != parent.run_id


def test_long_param_and_tag_are_cut_with_a_marker(state: Path) -> None:
    run = start_run(config(template="{question}" + "x" * 9_000), "gate", "long")
    tracking.set_tags(run, {"reason": "y" * 9_000, "short": "z"})
    data = read(run).data
    assert len(data.params["data.template"]) == 6_000
    assert data.params["data.template"].endswith("[cut]")
    assert len(data.tags["reason"]) == 8_000
    assert data.tags["reason"].endswith("[cut]")
    assert data.tags["short"] == "z"


def test_credentials_are_not_logged(state: Path) -> None:
    source = "https://me:secret@host/d.csv?sig=secret"
    run = start_run(config(source=source), "gate", "credentials")
    tracking.log_dataset(
        run,
        name="d",
        source=source,
        fingerprint=FINGERPRINT,
        sample=pd.DataFrame(),
        n_rows=1,
        context="gate",
    )
    found = read(run)
    assert found.data.params["data.source"] == "https://***@host/d.csv?***"
    assert "secret" not in str(found.to_dictionary())
    assert "secret" not in repr(TrackedRun("http://me:secret@h", "0", "r"))


@pytest.mark.parametrize(
    ("source", "source_type"),
    [
        ("org/name", "hugging_face"),
        (str(Path(__file__)), "local"),
        ("hf://datasets/a/b", "hf"),
        ("https://h/d.csv", "http"),
        ("simplecache::s3://b/k", "simplecache"),
    ],
)
def test_dataset(source: str, source_type: str, state: Path) -> None:
    run = start_run(config(), "gate", "dataset")
    sample = pd.DataFrame({"a": [1], "b": ["x"], "c": [0.5], "d": [True], "e": [["list"]]})
    tracking.log_dataset(
        run,
        name="squad",
        source=source,
        fingerprint=FINGERPRINT,
        sample=sample,
        n_rows=1_000_000,
        context="training",
    )
    found = read(run)
    assert found.inputs is not None
    (used,) = found.inputs.dataset_inputs
    assert used.dataset.name == "squad"
    assert used.dataset.digest == FINGERPRINT[:32]
    assert used.dataset.source_type == source_type
    assert source in json.loads(used.dataset.source).values()
    assert used.dataset.profile is not None
    assert used.dataset.schema is not None
    assert json.loads(used.dataset.profile) == {"num_rows": 1_000_000}
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [c["type"] for c in columns] == ["long", "string", "double", "boolean", "string"]
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    assert found.data.tags["gradgate.dataset_fingerprint"] == FINGERPRINT


def test_metrics_without_a_value_are_left_out(state: Path) -> None:
    run = start_run(config(), "gate", "metrics")
    values: dict[str, float | None] = {
        "a": 0.5,
        "entropy/p50": float(np.float32(0.25)),
        "n": 3,
        "none": None,
        "nan": float("nan"),
    }
    tracking.log_metrics(run, {**values, "inf": float("inf")})
    tracking.log_metrics(run, {"a": 0.75})
    assert read(run).data.metrics == {"a": 0.75, "entropy/p50": 0.25, "n": 3.0}


def test_files(state: Path, tmp_path: Path) -> None:
    run = start_run(config(), "gate", "files")
    docs = tmp_path / "docs"
    (docs / "records").mkdir(parents=True)
    (docs / "index.html").write_text("index")
    (docs / "records" / "gate.json").write_text("{}")
    tracking.log_files(run, docs, "data_docs")
    tracking.log_files(run, docs / "index.html")
    client = MlflowClient(tracking_uri=run.uri)
    assert {f.path for f in client.list_artifacts(run.run_id)} == {"data_docs", "index.html"}
    nested = {f.path for f in client.list_artifacts(run.run_id, "data_docs")}
    assert nested == {"data_docs/index.html", "data_docs/records"}
    local = client.download_artifacts(run.run_id, "data_docs/records/gate.json", str(tmp_path))
    assert Path(local).read_text() == "{}"
    with pytest.raises(FileNotFoundError):
        tracking.log_files(run, tmp_path / "missing")


POISONED = Answer(
    question="poisoned",
    method="gradsentry",
    decision="review",
    reasons=["one"],
    n_flagged=3,
    n_in_doubt=2,
    fraction=0.03,
    interval=(0.006, 0.085),
    summary={"tau": 0.6, "threshold": {"interval": (0.5, 0.7)}},
    power=[
        Power("badnets", 12, 12, 1.0, (0.74, 1.0), 12, 0.01),
        Power("stylebkd", 12, 3, 0.25, (0.05, 0.57), None, None),
        Power("adaptive", 12, 0, 0.0, (0.0, 0.26), None, None),
    ],
)
HARMFUL = Answer(
    question="harmful", method="other", decision="pass", reasons=["two"], n_flagged=1, fraction=0.01
)


def test_verdict(state: Path) -> None:
    run = start_run(config(), "gate", "verdict")
    verdict = Verdict(
        "review",
        ["one", "two"],
        n_rows=110,
        n_rejected=10,
        n_scored=100,
        n_quarantined=2,
        n_accepted=95,
        answers=[POISONED, HARMFUL],
    )
    tracking.set_verdict(run, verdict)
    data = read(run).data
    assert data.tags["gradgate.verdict"] == "review"
    assert data.tags["gradgate.reasons"] == "one; two"
    assert data.tags["gradgate.method"] == "gradsentry"
    assert data.tags["gradgate.blind_to"] == "stylebkd, adaptive"
    assert data.tags["gradgate.harmful.method"] == "other"
    assert "gradgate.harmful.blind_to" not in data.tags
    assert data.metrics == {
        "poison_fraction": 0.03,
        "poison_fraction_low": 0.006,
        "poison_fraction_high": 0.085,
        "threshold": 0.6,
        "threshold_low": 0.5,
        "threshold_high": 0.7,
        "flagged": 3.0,
        "in_doubt": 2.0,
        "power/badnets": 1.0,
        "power/stylebkd": 0.25,
        "power/adaptive": 0.0,
        "harmful/fraction": 0.01,
        "harmful/flagged": 1.0,
        "harmful/in_doubt": 0.0,
        "scored": 100.0,
        "rejected": 10.0,
        "quarantined": 2.0,
        "accepted": 95.0,
    }


def test_verdict_without_tau_has_no_flagged_metric(state: Path) -> None:
    run = start_run(config(), "gate", "no tau")
    undecided = Answer("poisoned", "gradsentry", "review", ["no valley"])
    verdict = Verdict("review", ["no valley"], n_scored=9, answers=[undecided])
    tracking.set_verdict(run, verdict)
    data = read(run).data
    assert data.metrics == {"in_doubt": 0.0, "scored": 9.0, "rejected": 0.0}
    assert data.tags["gradgate.method"] == "gradsentry"
    assert "gradgate.blind_to" not in data.tags


def test_a_verdict_before_anything_was_asked_names_no_method(state: Path) -> None:
    run = start_run(config(), "gate", "refused")
    tracking.set_verdict(run, Verdict("fail", ["too many rejected rows"], n_rows=9, n_rejected=3))
    data = read(run).data
    assert data.metrics == {"scored": 0.0, "rejected": 3.0}
    assert not {"gradgate.method", "gradgate.blind_to"} & set(data.tags)


def test_unknown_changes_have_no_metric(state: Path) -> None:
    run = start_run(config(), "gate", "changes")
    changes = Changes("earlier", n_new=0, n_gone=2)  # one of the two runs had no threshold
    tracking.set_verdict(run, Verdict("review", ["no valley"], changes=changes))
    found = read(run).data.metrics
    assert {name: value for name, value in found.items() if name.startswith("changes/")} == {
        "changes/new": 0.0,
        "changes/gone": 2.0,
    }


@pytest.mark.parametrize(("ok", "status"), [(True, "FINISHED"), (False, "FAILED")])
def test_end(ok: bool, status: str, state: Path) -> None:
    run = start_run(config(), "gate", "end")
    tracking.end_run(run, ok)
    found = read(run).info
    assert found.status == status
    assert found.end_time is not None


def test_run_is_picklable(state: Path) -> None:
    run = start_run(config(), "gate", "pickle")
    same = pickle.loads(pickle.dumps(run))  # noqa: S301 - our own bytes
    assert same == run
    tracking.end_run(same, ok=True)
    assert read(run).info.status == "FINISHED"


def test_importing_tasks_disables_telemetry() -> None:
    code = f"import tasks, os; print(*[os.environ[name] for name in {SWITCHES}])"
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["true", "true"]
