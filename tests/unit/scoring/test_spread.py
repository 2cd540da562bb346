"""A run whose samples are scored as shards, by whatever backend."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shard_helpers import MODEL_CONFIG, loaded_model, prepared_at, some_rows

from gradgate.config import ScoringConfig
from gradgate.data.prepare import Prepared
from gradgate.errors import StoreError
from gradgate.scoring.backends.spread import Spread
from gradgate.scoring.context import score_context
from gradgate.scoring.run import ScoringSummary, score_dataset
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.transfer import import_segment
from gradgate.scoring.shards.worker import Worker
from helpers import identified

SCORING = ScoringConfig()


class Run:
    """Runs over the same rows and the same store."""

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        self.folder, self.prepared = folder, prepared
        self.spread = Spread(SCORING, MODEL_CONFIG, folder / "state", None)
        self.progress: list[tuple[int, int]] = []

    def __call__(self, spread: Spread | None = None) -> ScoringSummary:
        model, output = identified(loaded_model()), self.folder / "scores.parquet"
        return score_dataset(
            self.prepared, model, SCORING, output, self.folder / "scores.db",
            lambda *done: self.progress.append(done), spread=spread or self.spread,
        )  # fmt: skip

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "state").iterdir() if path.is_dir())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("gradgate.scoring.shards.planning.SPREAD_UNIT_TOKENS", 200)
    return Run(tmp_path, prepared_at(tmp_path / "prepared", some_rows(60)))


def test_only_what_the_store_does_not_know_is_scored(run: Run) -> None:
    summary = run()
    assert (summary.n_rows, summary.n_scored, summary.n_failed) == (66, 60, 0)
    assert 0 < summary.n_computed_tokens < summary.n_tokens
    assert len(run.progress) > 3
    assert run.progress[-1] == (66, 66)
    assert pq.read_table(run.folder / "scores.parquet").num_rows == 66
    assert run.left() == []
    again = run()
    assert (again.n_scored, again.n_reused) == (0, 66)


def test_what_a_broken_run_has_scored_is_not_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second shard finds a full disk when it is to be published."""
    published: list[str] = []
    whole = Worker._publish

    def full(self: Worker, name: str, numbers: range) -> None:
        if published:
            raise StoreError("the disk is full")
        published.append(name)
        whole(self, name, numbers)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_publish", full)
        with pytest.raises(StoreError, match="full"):
            run()
    (left,) = run.left()
    shards = ShardFolder(run.folder / "state" / left)
    assert len(shards.names("segments")) == 1
    assert shards.names("parts") != []
    known = {
        n: import_segment(shards, n, run.folder / "counted.db").n_samples
        for n in (*published, *(f"parts/{name}" for name in shards.names("parts")))
    }
    summary = run()
    assert summary.n_scored == 60 - sum(known.values()) < 60
    assert (summary.n_rows, summary.n_failed) == (66, 0)
    assert run.left() == []


def test_other_runs_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    context = score_context(identified(loaded_model()), SCORING)
    other = prepared_at(tmp_path / "other", some_rows(10))
    names = set()
    for prepared, decides in (
        (run.prepared, context),
        (other, context),
        (run.prepared, replace(context, k=8)),
    ):
        with run.spread.shared(prepared, decides) as folder:
            names.add(folder.address)
    assert len(names) == 3
