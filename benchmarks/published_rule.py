"""Recall and false alarms of the published rule on labelled poisoned data.

Usage: `python -m benchmarks.published_rule --model MODEL FILE...`

Each file is JSONL with prompt, completion and the true label `poisoned`. The rule is run as
published: tau is the KDE valley where it is reliable and the constant 0.7 where it is not. Length
alone (rows with more target tokens than the threshold that gives the same recall) is the baseline.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import prepare
from gradgate.methods.gradsentry.threshold import PUBLISHED_CONSTANT, kde_valley
from gradgate.models.identity import identify_model
from gradgate.models.loading import load_tokenizer, sample_limit
from gradgate.scoring.run import score_dataset


@dataclass(frozen=True)
class Scored:
    """Entropies, target lengths and true labels of one file, row by row."""

    entropy: npt.NDArray[np.float64]
    n_target_tokens: npt.NDArray[np.int64]
    poisoned: npt.NDArray[np.bool_]


def score(source: Path, model: ModelConfig, mode: str) -> Scored:
    """Score a file; rejected rows have no part in the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limit = sample_limit(model, 2048)
        prepared = prepare(DataConfig(source=str(source)), load_tokenizer(model), limit, folder)
        config = ScoringConfig.model_validate({"mode": mode})
        score_dataset(prepared, identify_model(model), config, folder / "s.parquet")
        table = pq.read_table(folder / "s.parquet").to_pandas()
    labels = [json.loads(line)["poisoned"] for line in source.read_text().splitlines() if line]
    return Scored(
        table["spectral_entropy"].to_numpy(),
        table["n_target_tokens"].to_numpy(),
        np.asarray(labels)[table["row"].to_numpy()],
    )


def share(hits: npt.NDArray[np.bool_]) -> str:
    """A proportion with its 95 % Clopper-Pearson interval."""
    found = binomtest(int(hits.sum()), hits.size)
    interval = found.proportion_ci(0.95, method="exact")
    return f"{found.statistic:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def figures(scored: Scored) -> list[str]:
    """Tau and its origin, recall, false alarms, F1, false alarms of length alone."""
    found = kde_valley(scored.entropy)
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    flagged = scored.entropy > tau
    caught, alarms = flagged[scored.poisoned], flagged[~scored.poisoned]
    f1 = 2 * caught.sum() / (flagged.sum() + scored.poisoned.sum())
    shortest = np.quantile(
        scored.n_target_tokens[scored.poisoned], 1 - caught.mean(), method="lower"
    )
    by_length = scored.n_target_tokens[~scored.poisoned] >= shortest
    return [
        f"{tau:.3f} ({found.state})",
        share(caught),
        share(alarms),
        f"{f1:.2f}",
        share(by_length),
    ]


def main() -> None:
    """Print one line for each file and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    model = ModelConfig(path=arguments.model)
    headings = ["data", "mode", "tau", "recall", "false alarms", "F1", "length alone: false alarms"]
    table = Table(*headings)
    for source in arguments.files:
        for mode in ("crop", "full"):
            table.add_row(source.stem, mode, *figures(score(source, model, mode)))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
