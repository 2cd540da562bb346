"""Scores that are held against a probing set: a context of their own, and columns of the table."""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_helpers import CONTEXT, RIGHT, filled, key, probed, sql

from gradgate.common.run_folder import REPEATED
from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, SampleFile, prepare
from gradgate.gradients.safety import ProxyTerm, SafetyGradient, head_factors
from gradgate.gradients.score import SAFETY, Score
from gradgate.gradients.signals import SIGNALS
from gradgate.methods.contract import Detection, Method, Scores
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.power.other_scores import CanaryModel, OtherScores
from gradgate.scoring.run import score_dataset
from gradgate.scoring.store import record as record_module
from gradgate.scoring.store.record import Record
from gradgate.scoring.store.row import ScoreContext
from gradgate.scoring.store.scores import ScoreStore
from helpers import MODEL, identified, write_jsonl

PROBED = replace(CONTEXT, probes_sha256="d" * 64)
MODEL_CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")


@dataclass
class Probes:
    """A probing set of one prompt."""

    digest: str = "e" * 64
    n_built: int = 0
    broken: bool = False

    def build(self, loaded: LoadedModel) -> SafetyGradient:
        self.n_built += 1
        prompt, no, yes = ([*loaded.tokenizer(t)["input_ids"]] for t in ("Do it: ", "No!", "Sure"))
        terms = [
            ProxyTerm(prompt + some, [0.0] * len(prompt) + [sign / len(some)] * len(some))
            for sign, some in ((1.0, no), (-1.0, yes))
        ]
        pair = [
            ProxyTerm([*prompt, some[0]], [0.0] * len(prompt) + [sign])
            for sign, some in ((-1.0, no), (1.0, yes))
        ]
        found = head_factors(loaded, {"all": terms, "first": terms, "published": pair}, no[:1])
        return replace(found, factors=found.factors * math.nan) if self.broken else found


def prepared_rows(folder: Path, n: int) -> Prepared:
    folder.mkdir()
    rows = [{"prompt": "Say it: ", "completion": f"value {i}"} for i in range(n)]
    source = write_jsonl(folder / "rows.jsonl", rows)
    return prepare(DataConfig(source=str(source)), load_model(MODEL_CONFIG).tokenizer, 512, folder)


def test_contexts_without_probes_are_what_they_were() -> None:
    before = hashlib.sha256(json.dumps(("a" * 64, None, None, 16, "float32")).encode()).digest()
    assert CONTEXT.digest == before != PROBED.digest
    assert "probes_sha256" not in CONTEXT.described
    for context in (CONTEXT, PROBED):
        described: dict[str, Any] = context.described
        assert ScoreContext(**described) == context


def test_a_probed_context_finds_its_own_scores_alone(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    plain, beside = filled(path, 30), filled(path, 30, PROBED)
    assert sql(path, "SELECT count(*) FROM contexts") == [(2,)]
    with ScoreStore(path, PROBED) as store:
        assert store.get(list(plain)) == beside
        with pytest.raises(ValueError, match="vector of safety"):
            store.put({key(99): RIGHT})
        with pytest.raises(ValueError, match="32 bytes"):
            store.put({key(99): replace(RIGHT, safety=bytes(31))})
        assert store.get([key(99)]) == {}
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(plain)) == plain


def test_another_version_of_the_safety_replaces_that_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Record.of(probed(RIGHT), is_probed=True)
    assert old.score(is_probed=True) == probed(RIGHT)
    assert Record.of(RIGHT).score(is_probed=True) is None
    changed = tuple(replace(s, version=2) if s.of_probes else s for s in SIGNALS)
    monkeypatch.setattr(record_module, "SIGNALS", changed)
    assert old.score(is_probed=True) is None
    other = replace(RIGHT, safety=bytes(32), loss=9.0)
    joined = old.joined(Record.of(other, is_probed=True))
    assert joined.score(is_probed=True) == replace(RIGHT, safety=bytes(32))


def test_the_table_has_the_columns_and_they_are_reused(tmp_path: Path) -> None:
    model, store = identified(load_model(MODEL_CONFIG)), tmp_path / "scores.db"
    prepared, probes = prepared_rows(tmp_path / "a", 12), Probes()

    def score(name: str, with_probes: Probes | None) -> int:
        table = tmp_path / f"{name}.parquet"
        config = ScoringConfig()
        return score_dataset(prepared, model, config, table, store, probes=with_probes).n_scored

    assert [score("plain", None), score("probed", probes), score("again", probes)] == [12, 12, 0]
    assert probes.n_built == 1  # what the store knows needs no gradient
    assert score("other", Probes("f" * 64)) == 12
    plain, found, again = (
        pq.read_table(tmp_path / f"{n}.parquet") for n in ("plain", "probed", "again")
    )
    assert found.schema.metadata[b"gradgate.probes_sha256"] == probes.digest.encode()
    assert b"gradgate.probes_sha256" not in plain.schema.metadata
    for name in SAFETY:
        assert name in REPEATED
        assert plain[name].null_count == 12
        assert np.isfinite(found[name].to_numpy()).all()
        assert again[name].equals(found[name])
    assert found["spectral_entropy"].to_numpy() == pytest.approx(
        plain["spectral_entropy"].to_numpy(), abs=1e-6
    )
    assert (found["refusal_first"].to_numpy() < 0).all()


def test_what_is_not_finite_is_no_score(tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path / "a", 5)
    table = tmp_path / "scores.parquet"
    summary = score_dataset(
        prepared, identified(load_model(MODEL_CONFIG)), ScoringConfig(), table,
        probes=Probes(broken=True),
    )  # fmt: skip
    assert summary.n_failed == 5
    lines = pq.read_table(table)
    assert lines["status"].to_pylist() == ["failed"] * 5
    assert all(lines[name].null_count == 5 for name in (*SAFETY, "spectral_entropy"))


class Harmful(Method):
    """Wants what a probing set says."""

    name = "harmful_test"
    question = "harmful"
    needs = ("fihs_all", "loss", "spectral_entropy")
    needs_safety = True

    def detect(self, *_: object) -> Detection:
        raise AssertionError("it is only asked what it needs")


def test_samples_that_are_no_rows_are_scored_like_rows(tmp_path: Path) -> None:

    prepared, probes = prepared_rows(tmp_path / "a", 12), Probes()
    table, store = tmp_path / "scores.parquet", tmp_path / "scores.db"
    model = ConfiguredModel(MODEL_CONFIG)
    score_dataset(prepared, model.identify(), ScoringConfig(), table, store, probes=probes)
    samples = list(SampleFile(prepared.samples_path))
    canaries = CanaryModel(model, ScoringConfig(), 512, store, probes)
    found = OtherScores(Harmful(), canaries)(samples[3:])
    expected = Scores.read(table, Harmful.needs)
    assert probes.n_built == 1  # the store knew them
    assert found.is_scored.all()
    for name in Harmful.needs:
        assert found.signals[name].tolist() == expected.signals[name][3:].tolist()
    without = OtherScores(Harmful(), replace(canaries, probes=None))(samples[:2])
    assert not without.is_scored.any()
    assert np.isnan(without.signals["fihs_all"]).all()


def test_a_failed_score_says_nothing() -> None:
    failed = Score(None, None, None, 3, None, None, None, None, "failed", "it is not finite")
    record = Record.of(failed, is_probed=True)
    assert record.score(is_probed=True) == failed
    assert failed.against_probes() == {}
