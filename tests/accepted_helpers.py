"""Run folders whose verdict passes, and the lines of their tables."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.accepted import Acceptance, accept
from gradgate.prepare import SAMPLE_SCHEMA
from gradgate.samples import Turn, sample_id
from gradgate.verdict import Verdict
from helpers import FLAG_SCHEMA

ENTROPIES = [0.1, 0.9, 0.3, None, 0.5, 0.2]  # row 3 was not scored
FLAGGED = [False, True, False, None, False, False]


def sample_line(row: int) -> dict:
    turns = [("prompt", f"question {row}: ", False), ("completion", f"answer {row}", True)]
    return {
        "row": row * 2,  # rejected rows leave gaps
        "sample_id": sample_id(False, [Turn(*turn) for turn in turns]),
        "chat": False,
        "turns": [dict(zip(("role", "text", "is_target"), turn, strict=True)) for turn in turns],
        "n_prompt_chars": 12,
        "n_target_chars": 8,
        "input_ids": [1, 10 + row, 20 + row, 2],
        "is_target": [False, False, True, True],
    }


def flag_line(sample: dict, entropy: float | None, flagged: bool | None) -> dict:
    scored = entropy is not None
    return {
        "row": sample["row"],
        "sample_id": sample["sample_id"],
        "spectral_entropy": entropy,
        "n_target_tokens": 2,
        "loss": 1.0 if scored else None,
        "gradient_norm": 1.0 if scored else None,
        "status": "scored" if scored else "failed",
        "reason": None if scored else "the gradient vanishes",
        "flagged": flagged,
    }


def read(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def write(path: Path, lines: list[dict]) -> None:
    schema = SAMPLE_SCHEMA if path.name == "samples.parquet" else FLAG_SCHEMA
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), path, row_group_size=4)


def passing(found: Acceptance) -> Verdict:
    return Verdict(
        "pass",
        ["1 of 5 rows flagged"],
        n_rows=6,
        n_scored=5,
        n_flagged=1,
        tau=0.5,
        dataset_fingerprint=found.dataset_fingerprint,
        accepted_fingerprint=found.fingerprint,
        accepted_tokens=found.tokens_digest,
    )


def write_run(folder: Path) -> Path:
    """Fill the folder of a run whose verdict passes."""
    samples = [sample_line(row) for row in range(len(ENTROPIES))]
    flags = [flag_line(*line) for line in zip(samples, ENTROPIES, FLAGGED, strict=True)]
    write(folder / "samples.parquet", samples)
    write(folder / "flags.parquet", flags)
    (folder / "verdict.json").write_text(passing(accept(folder)).to_json())
    return folder
