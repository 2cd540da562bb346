"""Rows on disk through `prepare` and `score_dataset`, with the clock running."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import prepare
from gradgate.data.tokens import Tokens
from gradgate.models.identity import identify_model
from gradgate.models.loading import load_tokenizer
from gradgate.scoring.run import ScoringSummary, score_dataset

MAX_TOKENS = 8_192


@dataclass(frozen=True)
class Timed:
    """Seconds of one run, from rows on disk to the score table, in a process that is started.

    Attributes:
        prepare: Reading the rows and tokenizing them.
        score: Digesting the model's files, loading it if there is something to score, scoring,
            and writing store and table.
    """

    prepare: float
    score: float
    summary: ScoringSummary

    @property
    def total(self) -> float:
        """All of it."""
        return self.prepare + self.score


def run(source: Path, model: ModelConfig, folder: Path, store: Path | None) -> Timed:
    """Do what `gradgate score` does, in a folder of its own."""
    started = time.perf_counter()
    data = DataConfig(source=str(source))
    prepared = prepare(data, load_tokenizer(model), MAX_TOKENS, folder)
    ready = time.perf_counter()
    output = folder / "scores.parquet"
    summary = score_dataset(prepared, identify_model(model), ScoringConfig(), output, store)
    return Timed(ready - started, time.perf_counter() - ready, summary)


def write_rows(path: Path, samples: Iterable[Tokens]) -> Path:
    """JSONL of which the tokenizer of `save_random_model` makes these samples."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_row(sample)) + "\n" for sample in samples)
    return path


def _row(tokens: Tokens) -> dict[str, str]:
    words = [f"w{i}" for i in tokens.input_ids]
    first = tokens.is_target.index(True)
    return {"prompt": " ".join(words[1:first]), "completion": " ".join(words[first:-1])}
