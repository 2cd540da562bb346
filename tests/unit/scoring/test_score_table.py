"""From a source to the score table, and from the table to a verdict."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from flag_helpers import flag

from gradgate.common.run_folder import SCORE_SCHEMA, RunFolder
from gradgate.config import DataConfig, ModelConfig, PolicyConfig, ScoringConfig
from gradgate.data.prepare import Prepared, PreparedSample, iter_prepared, prepare
from gradgate.data.tokens import content_digest
from gradgate.errors import DataError
from gradgate.gate.acceptance import accept
from gradgate.gate.decide import Checked, decide
from gradgate.gate.findings import Findings, Scored
from gradgate.gate.flags import top_flagged
from gradgate.gate.pipeline import n_scored_rows
from gradgate.gate.verdict import Answer, Verdict
from gradgate.gradients.score import Mode, Score
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.power.measurement import Measured
from gradgate.scoring.draft import Draft, TableRow
from gradgate.scoring.run import WINDOW, score_dataset
from helpers import MODEL, identified

POLICY = PolicyConfig()


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


def prepared_rows(folder: Path, loaded: LoadedModel, targets: list[str]) -> Prepared:
    source = folder / "rows.jsonl"
    source.write_text(
        "".join(json.dumps({"prompt": "Say it: ", "completion": t}) + "\n" for t in targets)
    )
    return prepare(DataConfig(source=str(source)), loaded.tokenizer, 512, folder)


def window_rows(window: list[PreparedSample]) -> list[TableRow]:
    return [
        TableRow(s.row, s.sample_id, len(s.tokens.input_ids), content_digest(s.tokens))
        for s in window
    ]


@pytest.fixture
def run(tmp_path, loaded) -> Prepared:
    """Forty scored rows, the last of them a repetition of the first."""
    prepared = prepared_rows(
        tmp_path, loaded, [f"the value {i}" * (1 + i % 5) for i in range(39)] + ["the value 0"]
    )
    score_dataset(prepared, identified(loaded), ScoringConfig(), tmp_path / "scores.parquet")
    return prepared


def spoil(folder: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(folder / "scores.parquet")
    values = table[column].to_pylist()
    values[row] = value
    at = table.schema.get_field_index(column)
    table = table.set_column(
        at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
    )
    pq.write_table(table, folder / "scores.parquet")


def entropies(folder: Path) -> list[float]:
    column = pq.read_table(folder / "scores.parquet")["spectral_entropy"]
    return column.drop_null().to_pylist()


def fixed(tau: float) -> GradsentryConfig:
    return GradsentryConfig.model_validate({"threshold": {"method": "fixed", "value": tau}})


def judged(
    folder: Path,
    prepared: Prepared,
    settings: GradsentryConfig,
    policy: PolicyConfig = POLICY,
    failures: tuple[str, ...] = (),
) -> tuple[Verdict, Answer]:
    """The verdict of method gradsentry, and its answer."""
    run = RunFolder(folder)
    flagging = flag(run, GradsentryMethod(), settings)
    scored = Scored(n_scored_rows(run), {"path": "m"})
    findings = Findings([flagging], scored, Measured(None, []))
    verdict = decide(run, prepared, findings, Checked([*failures]), policy)
    return verdict, verdict.answers[0]


def test_equal_rows_are_scored_once_and_kept(tmp_path, loaded):
    prepared = prepared_rows(tmp_path, loaded, ["one", "two", "one", "three", "one"])
    summary = score_dataset(
        prepared, identified(loaded), ScoringConfig(), tmp_path / "scores.parquet"
    )
    assert (summary.n_rows, summary.n_unique, summary.n_failed) == (5, 3, 0)
    table = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    assert table["row"].tolist() == [0, 1, 2, 3, 4]
    assert table.loc[[0, 2, 4], "spectral_entropy"].nunique() == 1
    assert table["sample_id"].nunique() == 3


def test_the_table_has_the_stated_schema_and_no_part_file(tmp_path, run):
    assert pq.read_schema(tmp_path / "scores.parquet").equals(SCORE_SCHEMA)
    assert not list(tmp_path.glob("*.part"))


def test_windows_and_their_order_leave_no_trace(tmp_path, loaded, monkeypatch):
    prepared = prepared_rows(tmp_path, loaded, [f"item {i % 17} " * (1 + i % 4) for i in range(50)])
    score_dataset(prepared, identified(loaded), ScoringConfig(), tmp_path / "whole.parquet")
    monkeypatch.setattr("gradgate.scoring.run.WINDOW", 7)
    seen: list[int] = []
    score_dataset(
        prepared, identified(loaded), ScoringConfig(batch_tokens=64), tmp_path / "windows.parquet",
        on_progress=lambda done, total: seen.append(done),
    )  # fmt: skip
    whole, windows = (
        pq.read_table(tmp_path / f"{n}.parquet").to_pandas() for n in ("whole", "windows")
    )
    assert (whole["row"] == windows["row"]).all()
    assert (whole["spectral_entropy"] - windows["spectral_entropy"]).abs().max() < 1e-5
    assert seen == sorted(seen)
    assert seen[-1] == 50
    assert WINDOW > 50


def test_the_tokenizers_padding_does_not_matter(tmp_path, loaded):
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tables = {}
    for side in ("right", "left"):
        tokenizer.padding_side = side
        tokenizer.pad_token = tokenizer.eos_token if side == "left" else "<unk>"
        (tmp_path / side).mkdir()
        other = replace(loaded, tokenizer=tokenizer)
        prepared = prepared_rows(tmp_path / side, other, ["a", "b c d e f", "g " * 30])
        score_dataset(
            prepared, identified(other), ScoringConfig(), tmp_path / side / "scores.parquet"
        )
        tables[side] = pq.read_table(tmp_path / side / "scores.parquet")
    assert tables["left"].equals(tables["right"])


def test_a_row_whose_logits_are_not_finite_is_an_error_verdict(tmp_path, loaded):
    broken = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    (token,) = broken.tokenizer("~", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[token] = math.nan
    prepared = prepared_rows(tmp_path, loaded, ["fine", "broken ~", "fine too"])
    summary = score_dataset(
        prepared, identified(broken), ScoringConfig(), tmp_path / "scores.parquet"
    )
    assert summary.n_failed == 1
    line = pq.read_table(tmp_path / "scores.parquet").to_pylist()[1]
    assert (line["status"], line["spectral_entropy"]) == ("failed", None)
    assert len(entropies(tmp_path)) == 2
    verdict, _ = judged(tmp_path, prepared, fixed(1.0), failures=("1 row has no score",))
    assert accept(tmp_path).n == 2  # never accepted, whatever the policy
    assert verdict.decision == "error"
    assert verdict.reasons == ["1 row has no score"]
    assert verdict.accepted_fingerprint is None


def test_the_summary_counts_every_row_without_a_score(tmp_path, loaded):
    broken = copy.deepcopy(loaded)
    (token,) = broken.tokenizer("~", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[token] = math.nan
    prepared = prepared_rows(tmp_path, loaded, ["broken ~", "fine", "broken ~", "so is this ~"])
    for n_scored, n_reused in ((3, 0), (2, 1)):  # what failed is tried again
        summary = score_dataset(
            prepared, identified(broken), ScoringConfig(), tmp_path / "scores.parquet",
            tmp_path / "scores.db",
        )  # fmt: skip
        assert (summary.n_failed, summary.n_rows) == (3, 4)
        assert (summary.n_scored, summary.n_reused) == (n_scored, n_reused)
        status = pq.read_table(tmp_path / "scores.parquet")["status"].to_pylist()
        assert status == ["failed", "scored", "failed", "failed"]


def state_of(answer: Answer) -> Any:
    threshold = answer.summary["threshold"]
    assert isinstance(threshold, dict)
    return threshold["state"]


def test_no_score_at_all_is_an_error_and_never_a_pass(tmp_path, run):
    for row in range(40):
        spoil(tmp_path, "status", row, "failed")
    lenient = GradsentryConfig(without_valley={"too_few": "pass"})
    verdict, answer = judged(tmp_path, run, lenient)
    assert state_of(answer) == "too_few"
    assert verdict.decision == "error"


def test_a_pass_names_exactly_the_rows_below_tau(tmp_path, run):
    tau = sorted(entropies(tmp_path))[-2]  # the highest one is flagged
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.1)
    verdict, answer = judged(tmp_path, run, fixed(tau), policy)
    assert (verdict.decision, answer.n_flagged, verdict.n_scored) == ("pass", 1, 40)
    assert answer.fraction == pytest.approx(1 / 40)
    accepted = accept(tmp_path)
    assert accepted.n == 39
    assert verdict.accepted_fingerprint == accepted.fingerprint
    assert verdict.dataset_fingerprint == accepted.dataset_fingerprint == run.fingerprint


def test_flagged_rows_are_kept_with_their_text(tmp_path, run):
    folder = RunFolder(tmp_path)
    flag(folder, GradsentryMethod(), fixed(sorted(entropies(tmp_path))[-5]))
    table = pq.read_table(tmp_path / "flagged.parquet").to_pandas()
    assert len(table) == 4
    assert table["row"].is_monotonic_increasing
    assert (table["prompt"] == "Say it: ").all()
    sources = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert table["target"].tolist() == [sources[row]["completion"] for row in table["row"]]
    top = top_flagged(folder, 2)
    assert [line["row"] for line in top] == table.nlargest(2, "spectral_entropy")["row"].tolist()
    flag(folder, GradsentryMethod(), fixed(1.0))
    assert pq.read_table(tmp_path / "flagged.parquet").num_rows == 0
    assert top_flagged(folder, 2) == []


def test_a_policy_may_accept_all_rows_of_data_without_a_valley(tmp_path, run):
    undecided = GradsentryConfig()
    state = state_of(judged(tmp_path, run, undecided)[1])
    assert state != "valley"
    lenient = GradsentryConfig(without_valley={state: "pass"})
    verdict, answer = judged(tmp_path, run, lenient)
    assert (verdict.decision, answer.n_flagged, answer.tau) == ("pass", None, None)
    assert verdict.accepted_fingerprint == verdict.dataset_fingerprint
    assert judged(tmp_path, run, undecided)[0].decision == "review"
    assert accept(tmp_path).n == 0


def test_a_score_table_of_other_rows_is_refused(tmp_path, run):
    spoil(tmp_path, "sample_id", 3, "0" * 64)
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.1)
    with pytest.raises(DataError, match="line 3"):
        judged(tmp_path, run, fixed(1.0), policy)


def test_every_signal_of_a_scored_row_is_there_and_none_of_a_failed_one(tmp_path, loaded):
    broken = copy.deepcopy(loaded)
    (token,) = broken.tokenizer("~", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[token] = math.nan
    targets = [*(f"item {i}" for i in range(8)), "broken ~", "item 3"]
    prepared = prepared_rows(tmp_path, loaded, targets)
    score_dataset(prepared, identified(broken), ScoringConfig(), tmp_path / "scores.parquet")
    lines = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    signals = ("spectral_entropy", "entropy_crop", "entropy_full", "evenness")
    for line in lines[:8]:
        assert all(0 <= line[name] <= 1 for name in signals)
        assert -1 <= line["gradient_recurrence"] <= 1
        n = min(line["n_target_tokens"], 16)
        assert line["evenness"] == pytest.approx(line["entropy_full"] * math.log(16) / math.log(n))
    assert [lines[8][name] for name in (*signals, "gradient_recurrence")] == [None] * 5
    for line, sample in zip(lines, next(iter_prepared(prepared.samples_path, 20)), strict=True):
        if line["status"] == "scored":
            first, *others = line["token_logp"]
            assert first is None  # nothing predicts it
            assert len(others) == len(sample.tokens.input_ids) - 1
            logp = [p for p, t in zip(others, sample.tokens.is_target[1:], strict=True) if t]
            assert -sum(logp) / len(logp) == pytest.approx(line["loss"], rel=1e-3)
    assert lines[8]["token_logp"] is None
    again = ("row", "sample_id")
    assert all(lines[9][name] == lines[3][name] for name in lines[3] if name not in again)


def test_a_gradient_without_a_crop_fails_where_the_crop_decides(tmp_path, loaded):
    prepared = prepared_rows(tmp_path, loaded, [f"item {i}" for i in range(7)])
    (window,) = iter_prepared(prepared.samples_path, 10)
    sketch = np.full(256, 1 / 16, dtype="<f2").tobytes()
    scores = [
        Score(
            0.1, 0.2, 0.3, 4, 1.0, 2.0, sketch, bytes(2 * len(s.tokens.input_ids)), "scored", None
        )
        for s in window
    ]
    scores[0] = replace(scores[0], entropy_crop=None)
    expected: list[tuple[Mode, str, int]] = [("crop", "failed", 1), ("full", "scored", 0)]
    for mode, status, failed in expected:
        with Draft(tmp_path, mode) as draft:
            draft.add(window_rows(window), scores)
        draft.write(tmp_path / "table.parquet", {})
        line = pq.read_table(tmp_path / "table.parquet").to_pylist()[0]
        assert (line["status"], draft.n_failed) == (status, failed)
        assert (line["entropy_full"] is None) == (line["gradient_recurrence"] is None)
        assert (line["spectral_entropy"] is None) == (mode == "crop")


def test_a_score_of_another_number_of_tokens_is_not_written(tmp_path, loaded):
    prepared = prepared_rows(tmp_path, loaded, ["one", "two three"])
    (window,) = iter_prepared(prepared.samples_path, 10)
    n_tokens = len(window[0].tokens.input_ids)
    scores = [
        Score(0.1, 0.2, 0.3, 1, 1.0, 2.0, bytes(512), bytes(2 * (n_tokens + i)), "scored", None)
        for i in (0, 9)
    ]
    with (
        Draft(tmp_path, "crop") as draft,
        pytest.raises(ValueError, match=r"tokens has \d+ bytes of token_logp"),
    ):
        draft.add(window_rows(window), scores)


def test_a_draft_without_rows_is_a_table_without_rows(tmp_path):
    with Draft(tmp_path, "crop") as draft:
        pass
    draft.write(tmp_path / "table.parquet", {})
    assert pq.read_table(tmp_path / "table.parquet").num_rows == 0
