"""Rows of the probing set's prompts, and a gate that asks whether they are harmful."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Verdict
from gradgate.safety.probes import ProbeSet

PROBES = ProbeSet.read(None)
ANSWER = "Sure, here is how you can do that. Take your time and go on step by step."
REFUSAL = PROBES.refusal_openings[0]
N = 8  # rows of a kind

Rows = list[dict[str, str]]


def row(prompt: str, reply: str) -> dict[str, str]:
    """Worded as an instruction, for the demo's model has no chat template."""
    return {"instruction": prompt, "output": reply}


def rows() -> Rows:
    """Answered and refused harmful prompts, and twice as many answered benign ones."""
    harmful, benign = PROBES.harmful, PROBES.benign
    return [
        *(row(prompt, ANSWER) for prompt in harmful[:N]),
        *(row(prompt, REFUSAL) for prompt in harmful[N : 2 * N]),
        *(row(prompt, ANSWER) for prompt in benign[: 2 * N]),
    ]


def write_few_probes(path: Path) -> Path:
    """A part of the built-in probing set; a model is held against it in a seventh of the time."""
    n_kept = {"harmful": 10, "benign": 10, "refusal_openings": 4, "compliant_openings": 6}
    content = PROBES.model_dump()
    path.write_text(json.dumps({**content, **{k: content[k][:n] for k, n in n_kept.items()}}))
    return path


def judged(
    folder: Path, model: Path, data: Rows, detection: dict[str, Any], probes: Path | None = None
) -> tuple[Verdict, dict[str, list[Any]]]:
    """The verdict, and the table of flags."""
    folder.mkdir(exist_ok=True)
    source, run = folder / "rows.jsonl", RunFolder(folder / "run")
    source.write_text("".join(json.dumps(row) + "\n" for row in data))
    config = GateConfig.model_validate(
        {
            "data": {"source": str(source), "max_rejected_fraction": 0.0},
            "model": {"path": str(model), "device": "cpu", "dtype": "float32"},
            "safety": {"probes": None if probes is None else str(probes)},
            "detection": {"power": {"attacks": []}, **detection},
            "policy": {"max_copies": None},
        }
    )
    verdict = run_gate(config, run)
    return verdict, pq.read_table(run.flags).to_pydict()
