"""A signal that is added later leaves the stored scores alone; only what is missing is put."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from store_helpers import CONTEXT, filled, sql

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.tokens import Tokens
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.signals import SIGNALS, Signal
from gradgate.models.identity import load_model
from gradgate.scoring.run import score_dataset
from gradgate.scoring.store import record as record_module
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import verify
from helpers import MODEL, identified, write_jsonl

MADE_UP = Signal("made_up", number=201, version=1, width=4)


@dataclass(frozen=True, slots=True)
class LongerScore(Score):
    """A score as a later gradgate has it."""

    made_up: bytes | None = None


@contextmanager
def later_gradgate() -> Iterator[pytest.MonkeyPatch]:
    """A gradgate that knows one signal more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_module, "SIGNALS", (*SIGNALS, MADE_UP))
        patch.setattr(record_module, "Score", LongerScore)
        yield patch


def longer(score: Score, **changes: object) -> LongerScore:
    values = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    made_up = b"12345678" if score.status == "scored" else None
    return LongerScore(**{**values, "made_up": made_up, **changes})


def test_stored_values_stay_and_the_missing_one_is_put(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    before = filled(path, 300)
    whole = {k: score for k, score in before.items() if score.status == "scored"}
    after = {k: longer(score) for k, score in whole.items()}
    with later_gradgate(), ScoreStore(path, CONTEXT) as store:
        assert store.get(list(whole)) == {}
        assert store.n_damaged == 0
        store.put({k: longer(score, loss=9.0, sketch=bytes(512)) for k, score in whole.items()})
        assert store.get(list(whole)) == after
        assert verify(store).whole == 300
    with ScoreStore(path, CONTEXT) as store:  # an older gradgate finds its own, and harms nothing
        assert store.get(list(before)) == before
        store.put({k: replace(score, loss=9.0) for k, score in whole.items()})
    with later_gradgate(), ScoreStore(path, CONTEXT) as store:
        assert store.get(list(whole)) == after


def test_a_pass_that_fails_leaves_what_older_ones_have(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    before = {k: s for k, s in filled(path, 30).items() if s.status == "scored"}
    nothing = dict.fromkeys(signal.name for signal in SIGNALS)
    failed = {
        k: longer(s, **nothing, made_up=None, status="failed", reason="it is not finite")
        for k, s in before.items()
    }
    with later_gradgate(), ScoreStore(path, CONTEXT) as store:
        store.put(failed)
        assert store.get(list(before)) == failed
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(before)) == before
    with later_gradgate(), ScoreStore(path, CONTEXT) as store:
        store.put({k: longer(score, loss=9.0) for k, score in before.items()})
        assert store.get(list(before)) == {k: longer(score) for k, score in before.items()}


class LaterScorer(Scorer):
    """Also computes the made-up signal, and remembers of which samples."""

    asked: list[Tokens]

    def run(self, samples: Iterable[Tokens]) -> Generator[list[tuple[Tokens, Score]]]:
        for step in super().run(samples):
            self.asked += [sample for sample, _ in step]
            # what was stored before must not be replaced by what comes beside the new signal
            yield [(sample, longer(score, loss=9.0)) for sample, score in step]


def prepared_rows(folder: Path, n: int) -> Prepared:
    folder.mkdir()
    rows = [{"prompt": "Say it: ", "completion": f"value {i}"} for i in range(n)]
    source = write_jsonl(folder / "rows.jsonl", rows)
    config = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
    return prepare(DataConfig(source=str(source)), load_model(config).tokenizer, 512, folder)


def test_only_samples_without_the_signal_are_scored_and_the_table_is_the_same(
    tmp_path: Path,
) -> None:
    model = identified(load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32")))
    first, more = prepared_rows(tmp_path / "a", 20), prepared_rows(tmp_path / "b", 30)
    store = tmp_path / "scores.db"

    def score(prepared: Prepared, name: str) -> tuple[int, int]:
        table = tmp_path / f"{name}.parquet"
        summary = score_dataset(prepared, model, ScoringConfig(), table, store)
        return summary.n_scored, summary.n_reused

    def size() -> int:
        return int(str(sql(store, "SELECT sum(length(record)) FROM scores")[0][0]))

    score(first, "before")
    before = size()
    LaterScorer.asked = []
    with later_gradgate() as patch:
        patch.setattr("gradgate.scoring.run.Scorer", LaterScorer)
        assert score(first, "after") == (20, 0)
        assert len(LaterScorer.asked) == 20
        assert size() == before + 20 * (6 + 8)  # number, version, size; four numbers of two bytes
        assert score(first, "again") == (0, 20)
        assert score(more, "more") == (10, 20)
        assert len(LaterScorer.asked) == 30
    assert score(first, "older") == (0, 20)
    table = pq.read_table(tmp_path / "before.parquet")
    for name in ("after", "again", "older"):
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(table)  # bit for bit
