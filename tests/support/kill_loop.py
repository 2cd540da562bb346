"""Score a dataset again and again in child processes that are killed at random moments.

Usage: kill_loop.py FOLDER N_KILLS. Prints one JSON line: how many were killed, how many finished,
and every difference from the undisturbed table.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a forked child has no threads but its own

import pyarrow.parquet as pq

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, prepare
from gradgate.models.identity import load_model
from gradgate.scoring.run import score_dataset
from helpers import MODEL, identified

CONFIG = ScoringConfig(batch_tokens=64)  # many steps, each of which is written


def rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    with path.open("w") as file:
        for i in range(200):
            prompt = f"Question {i % 57} of {i % 11}: "
            file.write(json.dumps({"prompt": prompt, "completion": f"it is {i % 300}"}) + "\n")
    return path


def table(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def main() -> None:
    folder, n_kills = Path(sys.argv[1]), int(sys.argv[2])
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    prepared = prepare(DataConfig(source=str(rows(folder))), loaded.tokenizer, 512, folder)
    model = identified(loaded)
    score_dataset(prepared, model, CONFIG, folder / "expected.parquet")
    started = time.perf_counter()
    score_dataset(prepared, model, CONFIG, folder / "again.parquet")
    longest = time.perf_counter() - started
    expected = table(folder / "expected.parquet")
    generator = random.Random(7)
    killed = finished = 0
    differences: list[str] = []
    store = folder / "scores.db"
    while killed < n_kills:
        child = os.fork()
        if child == 0:
            score_dataset(prepared, model, CONFIG, folder / "scores.parquet", store)
            os._exit(0)
        time.sleep(generator.uniform(0, 0.3 * longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        if status:
            differences.append(f"a run ended with {status}")
        finished += 1
        differences += compare(expected, folder / "scores.parquet")
        (folder / "scores.parquet").unlink()
        for path in folder.glob("scores.db*"):
            path.unlink()
    summary = resume(prepared, model, folder, store)
    differences += compare(expected, folder / "scores.parquet")
    left = sorted(path.name for path in folder.iterdir())
    outcome = {"killed": killed, "finished": finished, "differences": differences, "left": left}
    sys.stdout.write(json.dumps({**outcome, **summary}) + "\n")


def resume(prepared: Prepared, model, folder: Path, store: Path) -> dict[str, int]:
    """After the last kill, run to the end, and then once more."""
    score_dataset(prepared, model, CONFIG, folder / "scores.parquet", store)
    again = score_dataset(prepared, model, CONFIG, folder / "again.parquet", store)
    return {"scored_again": again.n_scored, "reused": again.n_reused}


def compare(expected: list[dict[str, Any]], path: Path) -> list[str]:
    found = table(path)
    if [line["row"] for line in found] != [line["row"] for line in expected]:
        return [f"{len(found)} rows instead of {len(expected)}"]
    return [
        f"row {one['row']}: {one} instead of {other}"
        for one, other in zip(found, expected, strict=True)
        if one["sample_id"] != other["sample_id"]
        or one["status"] != other["status"]
        or abs(one["spectral_entropy"] - other["spectral_entropy"]) > 2e-5
        or abs(one["loss"] - other["loss"]) > 1e-4
    ]


if __name__ == "__main__":
    main()
