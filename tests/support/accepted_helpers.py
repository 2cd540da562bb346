"""Run folders whose verdict passes, and the lines of their tables."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.run_folder import SAMPLE_SCHEMA
from gradgate.data.sample import Turn, sample_id
from gradgate.gate.acceptance import Acceptance, accept
from gradgate.gate.verdict import Answer, Verdict
from helpers import FLAG_SCHEMA

Line: TypeAlias = dict[str, Any]

ENTROPIES = [0.1, 0.9, 0.3, None, 0.5, 0.2]  # row 3 was not scored
# The real one, but for the promise of no nulls, which a damaged file does not keep.
NULLABLE = pa.schema([field.with_nullable(True) for field in SAMPLE_SCHEMA])
FLAGGED = [False, True, False, None, False, False]


def sample_line(row: int) -> Line:
    turns = [("prompt", f"question {row}: ", False), ("completion", f"answer {row}", True)]
    return {
        "row": row * 2,  # rejected rows leave gaps
        "sample_id": sample_id(False, [Turn(*turn) for turn in turns]),
        "chat": False,
        "turns": [asdict(Turn(*turn)) for turn in turns],
        "template_inputs": "",
        "n_prompt_chars": 12,
        "n_target_chars": 8,
        "input_ids": [1, 10 + row, 20 + row, 2],
        "is_target": [False, False, True, True],
    }


def flag_line(sample: Line, entropy: float | None, flagged: bool | None) -> Line:
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
        "in_doubt": False if scored else None,
        "surplus_copy": False,
    }


def read(path: Path) -> list[Line]:
    lines: list[Line] = pq.read_table(path).to_pylist()
    return lines


def write(path: Path, lines: list[Line]) -> None:
    schema = NULLABLE if path.name == "samples.parquet" else FLAG_SCHEMA
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), path, row_group_size=4)


def passing(found: Acceptance) -> Verdict:
    why = ["1 of 5 rows flagged"]
    answer = Answer("poisoned", "gradsentry", "pass", why, n_flagged=1, summary={"tau": 0.5})
    return Verdict(
        "pass",
        why,
        n_rows=6,
        n_scored=5,
        answers=[answer],
        dataset_fingerprint=found.dataset_fingerprint,
        accepted_fingerprint=found.fingerprint,
        accepted_tokens=found.tokens_digest,
    )


def write_run(folder: Path) -> Verdict:
    """Fill the folder of a run, and return its verdict, which passes."""
    samples = [sample_line(row) for row in range(len(ENTROPIES))]
    flags = [flag_line(*line) for line in zip(samples, ENTROPIES, FLAGGED, strict=True)]
    write(folder / "samples.parquet", samples)
    write(folder / "flags.parquet", flags)
    return passing(accept(folder))
