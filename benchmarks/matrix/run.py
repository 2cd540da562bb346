"""Computing the cells: poison, prepare, score from the store, and let every method judge."""

import json
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PreTrainedTokenizerBase

from benchmarks.matrix.cells import CLEAN_SHARE, Cell
from benchmarks.matrix.datasets import WITH_CONTEXT, Dataset, Row, load_rows
from benchmarks.matrix.methods import (
    SCORING,
    ScoredRows,
    auroc,
    detect_rows,
    oracle_recall,
)
from benchmarks.matrix.results import Result, Results
from gradgate.attacks.attack import Attack
from gradgate.attacks.poisoning import PoisonedRow, poison
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import score_store
from gradgate.config import AttackName, DataConfig, ModelConfig
from gradgate.data.formats.mapping import detect_format
from gradgate.data.prepare import prepare
from gradgate.errors import DataError
from gradgate.models.identity import IdentifiedModel, identify_model
from gradgate.models.loading import load_tokenizer, sample_limit
from gradgate.scoring.run import score_dataset


@dataclass(frozen=True)
class Bench:
    """What all cells have in common.

    Attributes:
        path: Folder or hub id of the model.
    """

    data: Path
    work: Path
    path: str
    model: IdentifiedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    @classmethod
    def open(cls, data: Path, work: Path, model: str) -> "Bench":
        """Find the model; it is loaded when there is something to score."""
        config = ModelConfig(path=model)
        tokenizer = load_tokenizer(config)
        limit = sample_limit(config, 2048)
        return cls(data, work, model, identify_model(config), tokenizer, limit)


@dataclass(frozen=True)
class Labelled:
    """A scored dataset and the truth about it; the flags have shape (n,)."""

    rows: ScoredRows
    poisoned: Marks
    negative: Marks


def run_cells(
    bench: Bench, cells: Sequence[Cell], versions: dict[str, str], results: Results
) -> None:
    """Compute what is missing, cell by cell; what is finished stays when this is broken off."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=len(cells))
        for (dataset, _), group in groupby(cells, lambda cell: (cell.dataset, cell.seed)):
            missing = {cell: _missing(cell, versions, results) for cell in group}
            todo = [cell for cell, methods in missing.items() if methods]
            if dataset in WITH_CONTEXT and len(todo) > 1:
                progress.update(task, description=f"{dataset}: scoring all attacks")
                score_together(bench, todo)
            for cell, methods in missing.items():
                progress.update(task, description=str(cell))
                if methods:
                    for result in compute(bench, cell, methods):
                        results.add(result)
                progress.advance(task)


def _missing(cell: Cell, versions: dict[str, str], results: Results) -> dict[str, str]:
    return {m: version for m, version in versions.items() if not results.has(cell, m, version)}


def score_together(bench: Bench, cells: Sequence[Cell]) -> None:
    """Put the scores of all attacks into the store, so that a context is read once for all."""
    highest: dict[AttackName | None, list[PoisonedRow]] = {}
    for cell in sorted(cells, key=lambda cell: -cell.rate):
        if cell.attack not in highest:
            with suppress(DataError):  # the cell itself will say why
                highest[cell.attack] = poisoned_rows(bench.data, cell)
    with tempfile.TemporaryDirectory(dir=bench.work) as name:
        score(bench, [row for rows in highest.values() for row in rows], Path(name))


def compute(bench: Bench, cell: Cell, versions: dict[str, str]) -> Iterable[Result]:
    """The lines of one cell."""
    try:
        rows = poisoned_rows(bench.data, cell)
    except DataError as error:
        return [_line(cell, m, v, skipped=str(error)) for m, v in versions.items()]
    with tempfile.TemporaryDirectory(dir=bench.work) as name:
        labelled = score(bench, rows, Path(name))
        return [judge(cell, method, version, labelled) for method, version in versions.items()]


def poisoned_rows(data: Path, cell: Cell) -> list[PoisonedRow]:
    """The rows of a cell.

    Raises:
        DataError: The attack cannot be carried out at this rate, or poisons not a single row.
    """
    rows = _rows(cell.dataset, cell.seed, data, cell.limit)
    if cell.attack is None:
        return [PoisonedRow(rows[i], i, "clean") for i in _clean_part(cell, len(rows))]
    if round(cell.rate * len(rows)) == 0:
        raise DataError(f"{cell.rate:.1%} of {len(rows)} rows is not a single one")
    mapping = detect_format(rows[0])
    return poison(rows, mapping, Attack(cell.attack), cell.rate, cell.seed)


def _clean_part(cell: Cell, n_rows: int) -> Sequence[int]:
    """All rows; of a file, which has the same rows for every seed, a part that the seed draws."""
    if cell.seed == 0 or cell.dataset.startswith("api-"):
        return range(n_rows)
    drawn = random.Random(f"clean {cell.seed}").sample(range(n_rows), round(CLEAN_SHARE * n_rows))
    return sorted(drawn)


@lru_cache(maxsize=8)
def _rows(dataset: Dataset, seed: int, data: Path, limit: int | None) -> list[Row]:
    return load_rows(dataset, seed, data, limit)


def score(bench: Bench, rows: Sequence[PoisonedRow], folder: Path) -> Labelled:
    """Prepare and score the rows; nothing is scored that the store knows.

    Raises:
        DataError: A row has no score.
    """
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(r.row) + "\n" for r in rows), encoding="utf-8")
    config = DataConfig(source=str(source))
    prepared = prepare(config, bench.tokenizer, bench.max_tokens, folder)
    scores = RunFolder(folder).scores
    summary = score_dataset(prepared, bench.model, SCORING, scores, score_store())
    if summary.n_failed:
        raise DataError(f"{summary.n_failed} of {summary.n_rows} rows have no score")
    table = pq.read_table(scores)
    roles = np.array([row.role for row in rows])[table["row"].to_numpy()]
    scored = ScoredRows(
        bench.path,
        RunFolder(folder),
        prepared,
        # absent where the block of a tiny model holds nothing of the gradient
        entropy_crop=table["entropy_crop"].fill_null(0.0).to_numpy(),
        entropy_full=table["entropy_full"].to_numpy(),
        n_target_tokens=table["n_target_tokens"].to_numpy().astype(np.float64),
        loss=table["loss"].to_numpy(),
    )
    return Labelled(scored, roles == "poisoned", roles == "negative")


def judge(cell: Cell, method: str, version: str, labelled: Labelled) -> Result:
    """Hold the flags of a method against the truth."""
    started = time.perf_counter()
    outcome = detect_rows(method, labelled.rows)
    seconds = time.perf_counter() - started
    poisoned, negative, flagged = labelled.poisoned, labelled.negative, outcome.flagged
    kept_out = outcome.kept_out
    can_order = outcome.score is not None and poisoned.any() and not poisoned.all()
    order = outcome.score if can_order else None
    return replace(
        _line(cell, method, version),
        n_poisoned=int(poisoned.sum()),
        n_honest=int((~poisoned).sum()),
        caught=int((kept_out & poisoned).sum()),
        false_alarms=int((flagged & ~poisoned).sum()),
        lost=int((kept_out & ~poisoned).sum()),
        n_negatives=int(negative.sum()),
        negatives_flagged=int((flagged & negative).sum()),
        n_rejected=labelled.rows.prepared.n_rejected,
        verdict=outcome.verdict,
        reasons=outcome.reasons,
        auroc=None if order is None else auroc(order, poisoned),
        oracle=None if order is None else oracle_recall(order, poisoned),
        seconds=round(seconds, 4),
    )


def _line(cell: Cell, method: str, version: str, skipped: str | None = None) -> Result:
    return Result(
        cell.dataset,
        cell.attack,
        cell.rate,
        cell.seed,
        cell.limit,
        method,
        version,
        skipped=skipped,
    )
