"""The process that `benchmarks.memory` measures; prints its MiB before and at the peak as JSON."""

import json
import sys
from pathlib import Path

import torch

from benchmarks.models import llama, random_model
from benchmarks.pipeline import run, write_rows
from benchmarks.shapes import webqa, with_target_length
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.gradients.scorer import Scorer

TOKENS = 8_192  # of all samples of `scorer`, of which there are at least two
WARM_UP_ROWS = 4


def rows(source: Path, model: Path, folder: Path) -> tuple[float, float]:
    """Peak of fetching and scoring a folder of rows."""
    config = ModelConfig(path=str(model), device="cpu")
    warm_up = write_rows(folder.parent / "warm-up.jsonl", webqa(WARM_UP_ROWS, 512, 0))
    run(warm_up, config, folder.parent / "warm-up", folder.parent / "warm-up.sqlite")
    before = _now()
    run(source, config, folder, folder.parent / "store.sqlite")
    return before, _peak()


def scorer(n_vocabulary: int, n_target_tokens: int) -> tuple[float, float]:
    """Peak of scoring a few samples with a small body and a head of so many rows."""
    config = llama(n_vocabulary, 64, 128, 2, 2)
    loaded = random_model(config, torch.device("cpu"), torch.float32)
    scorer = Scorer(loaded, ScoringConfig())
    scorer.score(with_target_length(2, 2, n_vocabulary, 0))
    before = _now()
    n_samples = max(2, TOKENS // n_target_tokens)
    scorer.score(with_target_length(n_samples, n_target_tokens, n_vocabulary, 1))
    return before, _peak()


def _now() -> float:
    """Resident MiB; the peak is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Run what the arguments name."""
    kind, *values = sys.argv[1:]
    if kind == "rows":
        source, model, folder = map(Path, values)
        found = rows(source, model, folder)
    else:
        n_vocabulary, n_target_tokens = map(int, values)
        found = scorer(n_vocabulary, n_target_tokens)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
