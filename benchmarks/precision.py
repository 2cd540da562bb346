"""How far a score depends on what it is scored with and on the dtype.

Usage: `python -m benchmarks.precision --model MODEL FILE [--rows 400]`

Every row is scored with all others and alone, in float32 and in bfloat16.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import iter_prepared, prepare
from gradgate.data.tokens import Tokens
from gradgate.gradients.score import Mode
from gradgate.gradients.scorer import Scorer
from gradgate.models.identity import load_model
from gradgate.models.loading import load_tokenizer, sample_limit


def first_rows(source: Path, model: ModelConfig, n_rows: int) -> list[Tokens]:
    """The first rows of a JSONL file, tokenized."""
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "rows.jsonl"
        rows.write_text("".join(source.read_text().splitlines(keepends=True)[:n_rows]))
        config = DataConfig(source=str(rows))
        prepared = prepare(config, tokenizer, sample_limit(model, 2048), Path(name))
        (window,) = iter_prepared(prepared.samples_path, n_rows)
    return [sample.tokens for sample in window]


def entropies(
    samples: list[Tokens], path: str, dtype: str, mode: Mode, alone: bool
) -> npt.NDArray[np.float64]:
    """Spectral entropy of every sample: (n,)."""
    loaded = load_model(ModelConfig.model_validate({"path": path, "dtype": dtype}))
    scorer = Scorer(loaded, ScoringConfig())
    parts = [[sample] for sample in samples] if alone else [samples]
    scores = [score for part in parts for score in scorer.score(part)]
    return np.array([score.entropy(mode) for score in scores], dtype=np.float64)


def main() -> None:
    """Print the largest difference in entropy for each mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=400)
    arguments = parser.parse_args()
    samples = first_rows(arguments.file, ModelConfig(path=arguments.model), arguments.rows)
    table = Table("mode", "float32: alone", "bfloat16: alone", "bfloat16 against float32")
    for mode in ("crop", "full"):
        single, half = (
            [entropies(samples, arguments.model, dtype, mode, alone) for alone in (False, True)]
            for dtype in ("float32", "bfloat16")
        )
        differences = (single[0] - single[1], half[0] - half[1], half[0] - single[0])
        table.add_row(mode, *(f"{np.abs(difference).max():.1e}" for difference in differences))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
