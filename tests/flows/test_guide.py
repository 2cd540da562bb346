"""docs/guide.md, typed from its first command to its last."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from guide_helpers import Reader, marks, typed
from markdown_helpers import ROOT, Document, Fence
from prefect.client.orchestration import get_client
from receiver_helpers import Receiver, receiving

from flows.cli import app
from gradgate.cli.running import run
from gradgate.signing.keys import VARIABLE
from helpers import diverse_rows, write_jsonl

GUIDE = Document("docs/guide.md")
N, N_CLOSING = 240, 10
NOBODY: dict[str, list[str]] = {
    alert: [] for alert in ("rejected", "needs_review", "not_decided", "broken")
}


def write_closing() -> None:
    """One night ten rows of the data have a closing line."""
    rows = diverse_rows(N)
    for row in rows[:: N // N_CLOSING]:
        row["answers"] = f"{row['answers']} Yours, Ada"
    write_jsonl(Path("train.jsonl"), rows)


def write_file(fence: Fence) -> None:
    """A block that is the content of a file, or goes into one that is there."""
    path, content = Path(fence.mark), yaml.safe_load(fence.text)
    there: dict[str, Any] = yaml.safe_load(path.read_text()) if path.exists() else {}
    if path.name == "prefect.yaml":
        gate = next(one for one in there["deployments"] if one["name"] == "gate")
        gate["schedules"] = content["schedules"]
        # The aliases of this file are one object: all deployments get it.
        there["definitions"]["config"].update(yaml.safe_load(Path("gate.yaml").read_text()))
    else:
        for name, section in content.items():
            there[name] = {**there[name], **section} if name in there else section
    if path.name == "gate.yaml":  # canaries take most of a gate's time
        there.setdefault("detection", {})["power"] = {"attacks": []}
    path.write_text(yaml.safe_dump(there), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with what a checkout has, and nothing on the server afterwards."""
    state = tmp_path / ".gradgate"
    state.mkdir()
    shutil.copy(empty_store, state / "mlflow.db")
    for name in ("demo", "flows", "tasks", "expectations"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(state))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    Path("none.yaml").write_text(yaml.safe_dump({"channels": {}, "alerts": NOBODY}))
    assert run(app, ["automations", "apply", "none.yaml"]) == 0
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
        client.delete_work_pool("gradgate")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_every_command_of_the_guide(
    prefect_server: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    reader = Reader(monkeypatch, capfd, prefect_server, receiver.url)
    for fence in GUIDE.fences("yaml", "yml", "console"):
        if fence.language != "console":
            write_file(fence)
            continue
        marked = marks(fence)
        if "by" in marked:
            continue
        if marked.get("train") == "closing":
            write_closing()
        for one in typed(fence):
            reader.types(one)
    reader.ends()
    assert receiver.received, "no message of `automations test` has come"


def test_the_rows_of_the_guide_are_those_that_the_model_expects() -> None:
    lines = (ROOT / "demo/guide.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == diverse_rows(N)


def test_blocks_that_run_elsewhere_name_the_test() -> None:
    marked = [marks(fence) for fence in GUIDE.fences("console")]
    named = [one["by"] for one in marked if "by" in one]
    assert 0 < len(named) < len(marked) / 3
    for name in named:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
