"""A state folder with runs of some age."""

import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from attest_helpers import Attested
from cli_helpers import Done, gradgate

from gradgate.common.processes import Process

DAY = 24 * 60 * 60  # seconds
GONE = Process(Process.this().host, 999_999_999, 1.0)


def runs(*arguments: object) -> Done:
    return gradgate("runs", *arguments)


def pruned(*arguments: object) -> Done:
    done = runs("prune", *arguments)
    assert done.exit_code == 0, done.stderr
    return done


def listed() -> dict[str, dict[str, Any]]:
    done = runs("list", "--json")
    assert done.exit_code == 0, done.stderr
    return {record["name"]: record for record in json.loads(done.stdout)}


def age(path: Path, days: float) -> Path:
    """Say that nothing in a folder was written for some days."""
    then = time.time() - days * DAY
    for one in (path, *path.rglob("*")):
        os.utime(one, (then, then))
    return path


def write_owner(folder: Path, owner: Process) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"run_id": "of MLflow", "uri": "sqlite:///x", "owner": asdict(owner)}
    (folder / "run.json").write_text(json.dumps(record))


def run_of(
    state: Path, name: str, attested: Attested, days: float = 100, gate: str = "a", **said: Any
) -> Path:
    """A gate run that passed some days ago; `said` is what its attestation says otherwise."""
    folder = state / "runs" / name
    shutil.copytree(attested.run.path, folder)
    config = {
        "data": {"source": "rows.jsonl"},
        "model": {"path": "m"},
        "tracking": {"gate": gate, "experiment": "e"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_owner(folder, GONE)
    if said:
        attested.sealed_with(folder / "attestation.json", said, attested.signer)
    return age(folder, days)


def point(state: Path, name: object, pointer: str = "of-a-gate") -> None:
    (state / "series").mkdir(exist_ok=True)
    (state / "series" / f"{pointer}.json").write_text(json.dumps({"run": name}))
