"""What of the evaluation matrix needs no model: plan, results, figures, methods, report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.matrix import bars, methods
from benchmarks.matrix.cells import (
    CLASSIC,
    CLEAN_SEEDS,
    DATA_SOURCES,
    EVASIONS,
    RATES,
    ROOT,
    SEEDS,
    Cell,
    digest_of,
    plan,
)
from benchmarks.matrix.datasets import DATASETS
from benchmarks.matrix.figures import mean_over_seeds, recall, seed_margin
from benchmarks.matrix.methods import (
    ScoredRows,
    all_methods,
    auroc,
    detect_rows,
    oracle_recall,
    upper_fence,
)
from benchmarks.matrix.report import table, write_report
from benchmarks.matrix.results import Result, Results
from benchmarks.matrix.run import Bench, compute, poisoned_rows, run_cells, score_together
from demo.questions import mine_questions
from gradgate.attacks.attack import ATTACKS
from gradgate.common.arrays import Floats
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttackName
from gradgate.errors import DataError
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.models.loading import LoadedModel
from helpers import MODEL, diverse_rows, scored_rows, write_jsonl

CELL = Cell("webqa", "badnets", 0.1, 0)


def result(
    attack: AttackName | None = "badnets",
    rate: float = 0.1,
    caught: int = 10,
    false_alarms: int = 0,
    seed: int = 0,
    method: str = "length",
) -> Result:
    n_poisoned = 0 if attack is None else 10
    return Result(
        *("webqa", attack, rate, seed, None, method, "v"),
        n_poisoned=n_poisoned,
        n_honest=90,
        caught=min(caught, n_poisoned),
        false_alarms=false_alarms,
        verdict="pass",
        reasons=("why",),
        auroc=None if attack is None else 0.5,
        seconds=0.1,
    )


def test_the_plan_holds_every_cell_once_and_twenty_clean_runs() -> None:
    cells = list(plan())
    assert max(Counter(cells).values()) == 1
    assert sum(cell.attack is None for cell in cells) == 20
    attacks = {*CLASSIC, *EVASIONS}
    assert {cell.attack for cell in cells} == {None, *attacks}
    assert attacks < set(ATTACKS)
    poisoned = len(DATASETS) * 18 * len(RATES) * len(SEEDS)
    assert len(cells) == poisoned + len(DATASETS) * len(CLEAN_SEEDS)


def test_the_highest_rate_comes_first_so_that_the_others_find_their_scores() -> None:
    first: dict[tuple[object, ...], float] = {}
    for cell in plan():
        first.setdefault((cell.dataset, cell.attack, cell.seed), cell.rate)
    assert all(rate == max(RATES) for (_, attack, _), rate in first.items() if attack)


def test_a_small_part_has_the_clean_runs_of_its_seeds_only() -> None:
    cells = list(plan(["coqa"], ["cba"], [0.0, 0.5], [1], limit=7))
    assert cells == [Cell("coqa", None, 0.0, 1, 7), Cell("coqa", "cba", 0.5, 1, 7)]


@pytest.mark.parametrize("pattern", sorted({*DATA_SOURCES, *methods._SOURCES}))
def test_what_a_digest_is_taken_of_is_there(pattern: str) -> None:
    assert list(ROOT.glob(pattern)), f"{pattern} names no file: its changes would go unseen"


def test_a_digest_tells_facts_apart() -> None:
    assert digest_of([], "ab", "c") != digest_of([], "a", "bc")
    assert digest_of([], "a") != digest_of(["constraints.txt"], "a")


def test_finished_cells_are_found_again_and_a_torn_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = result(), result(rate=0.5)
    results = Results(path)
    results.add(first)
    results.add(second)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])  # killed while the second line was written
    again = Results(path)
    assert again.has(first.cell, "length", "v")
    assert not again.has(second.cell, "length", "v")
    again.add(second)
    assert path.read_bytes() == whole
    assert Results(path).of({"length": "v"}, None) == [first, second]


def test_an_older_version_is_not_finished(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    results.add(result())
    assert not results.has(CELL, "length", "newer")
    assert not results.has(CELL, "loss", "v")
    assert results.of({"length": "newer", "loss": "v"}, None) == []
    assert results.of({"length": "v"}, 300) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    score = np.array([value for value, _ in rows], dtype=float)
    poisoned = np.array([label for _, label in rows])
    if poisoned.all() or not poisoned.any():
        return
    pairs = [(a > b) + (a == b) / 2 for a in score[poisoned] for b in score[~poisoned]]
    assert auroc(score, poisoned) == pytest.approx(np.mean(pairs))


def test_an_oracle_keeps_to_one_percent_of_false_alarms() -> None:
    score = np.concatenate([np.arange(200.0), [197.5, 198.5, 300.0, 0.0]])
    poisoned = np.arange(204) >= 200
    assert oracle_recall(score, poisoned) == 3 / 4  # above 197, which two honest rows exceed
    assert oracle_recall(np.zeros(204), poisoned) == 0.0


def test_the_fence_flags_outliers_alone() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert upper_fence(score) == pytest.approx(0.4 + 1.5 * 0.2)


def scored(folder: Path, rows: Sequence[Mapping[str, object]], values: Floats) -> ScoredRows:
    """Rows with these values for each of their signals."""
    prepared = scored_rows(folder, rows, values.tolist())
    run = RunFolder(folder)
    return ScoredRows(str(MODEL), run, prepared, values, values, 1 + 9 * values, values)


PUBLISHED_RULES = ["gradsentry-crop", "gradsentry-full", "length", "loss"]


def test_all_methods_are_those_of_the_gate_and_the_baselines() -> None:
    assert all_methods() == ["recurrence", *PUBLISHED_RULES]


@pytest.mark.parametrize("method", PUBLISHED_RULES)
def test_a_clear_second_mode_is_what_the_published_rules_flag(method: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 200)
    two_modes = np.where(np.arange(200) < 20, 0.9, 0.3) + noise
    outcome = detect_rows(method, scored(tmp_path, diverse_rows(200), two_modes))
    assert outcome.flagged.tolist() == [i < 20 for i in range(200)]
    assert outcome.verdict == "fail"  # 10 % is more than the default policy allows
    assert "20 of 200 rows flagged" in outcome.reasons[0]
    assert outcome.score is not None
    assert outcome.score[:20].min() > outcome.score[20:].max()


@pytest.mark.parametrize("method", PUBLISHED_RULES)
def test_one_value_for_all_rows_flags_none(method: str, tmp_path: Path) -> None:
    outcome = detect_rows(method, scored(tmp_path, diverse_rows(200), np.full(200, 0.5)))
    assert not outcome.flagged.any()
    assert outcome.verdict == "pass"


def test_a_mode_is_judged_by_its_own_entropy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 200)
    crop, full = (np.where(np.arange(200) < n, 0.9, 0.3) + noise for n in (20, 40))
    rows = replace(scored(tmp_path, diverse_rows(200), crop), entropy_full=full)
    for method, n in (("gradsentry-crop", 20), ("gradsentry-full", 40)):
        outcome = detect_rows(method, rows)
        assert outcome.flagged.tolist() == [i < n for i in range(200)]


def test_the_rows_are_judged_as_by_the_gate(tmp_path: Path) -> None:
    """With the scores of the real model, which the method asks besides."""
    rows = [{"question": r["question"], "answers": r["answers"]} for r in mine_questions(200, 0)]
    write_jsonl(tmp_path / "webqa.jsonl", rows)
    bench = Bench.open(tmp_path, tmp_path, str(MODEL))
    cell = Cell("webqa", "refusal", 0.1, 0)
    [line] = compute(bench, cell, {"recurrence": "v"})
    assert (line.n_poisoned, line.n_honest, line.caught) == (20, 180, 20)
    assert line.false_alarms <= line.lost <= 3
    poisoned = [row.row for row in poisoned_rows(tmp_path, cell)]
    source = write_jsonl(tmp_path / "poisoned.jsonl", poisoned)
    config = GateConfig.model_validate(
        {
            "data": {"source": str(source)},
            "model": {"path": str(MODEL)},
            "detection": {"power": {"attacks": []}},
        }
    )
    run = RunFolder(tmp_path / "gate")
    verdict = run_gate(config, run)
    assert (line.verdict, line.reasons) == (verdict.decision, tuple(verdict.reasons[:4]))
    flags = pq.read_table(run.flags, columns=["flagged", "in_doubt"]).to_pydict()
    kept_out = np.logical_or(flags["flagged"], flags["in_doubt"])
    assert kept_out.sum() == line.caught + line.lost


def test_rows_in_doubt_are_kept_out_and_not_flagged(tmp_path: Path) -> None:
    rows = [*diverse_rows(100), *diverse_rows(1, seed=1) * 10]
    outcome = detect_rows("gradsentry-full", scored(tmp_path, rows, np.full(110, 0.5)))
    assert not outcome.flagged.any()
    # copies beyond the three of policy.max_copies
    assert np.flatnonzero(outcome.kept_out).tolist() == list(range(103, 110))


def test_a_share_pools_rows_and_its_margin_is_over_seeds() -> None:
    found = recall([result(caught=10, seed=0), result(caught=8, seed=1), result(caught=9, seed=2)])
    assert found is not None
    assert (found.k, found.n, found.value) == (27, 30, 0.9)
    assert found.low < 0.9 < found.high
    assert found.margin == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    assert recall([result(attack=None)]) is None
    assert seed_margin([0.5]) is None
    assert mean_over_seeds([], lambda r: r.recall) == "-"


def bar(results: list[Result], text: str) -> bars.Bar:
    return next(found for found in bars.check(results) if text in found.asked)


def test_one_bad_cell_misses_a_bar_for_every_cell() -> None:
    good = [result(rate=rate, seed=seed) for rate in (0.01, 0.5) for seed in range(3)]
    assert bar(good, "at least 1 %").met
    assert not bar([*good, result("refusal", caught=9)], "at least 1 %").met
    assert bar([*good, result("adaptive", caught=0)], "at least 1 %").met
    assert not bar([*good, result(false_alarms=2)], "every cell").met
    assert bar([*good, result(false_alarms=2)], "on average").met


def test_rows_lost_from_clean_data_and_poison_trained_on_miss_a_bar() -> None:
    clean = [result(attack=None, rate=0.0, seed=seed) for seed in range(3)]
    assert bar(clean, "quarantined <= 2 %").met
    assert not bar([*clean, replace(clean[0], lost=2)], "quarantined <= 2 %").met
    evasions = [result("combo", seed=seed) for seed in range(9)]
    assert bar([*evasions, result("leaked", caught=9)], "1 of 10 cells").met
    leaving = bar([result("leaked", caught=9), result("copies", caught=0)], "1 of 10 cells")
    assert not leaving.met
    assert leaving.found == "2 of 2 cells (copies, leaked)"
    reviewed = replace(result("leaked", caught=9), verdict="review")
    assert bar([reviewed], "1 of 10 cells").met  # a person looks before anything is trained


def test_clean_runs_may_be_reviewed_once_in_twenty_and_never_fail() -> None:
    runs = [result(attack=None, rate=0.0, seed=seed) for seed in range(20)]
    one = [replace(runs[0], verdict="review"), *runs[1:]]
    two = [replace(r, verdict="review") for r in runs[:2]] + runs[2:]
    long = [replace(r, dataset="api-long", seed=r.seed + 20) for r in two[:2]]
    assert bar(one, "`review`").met
    assert not bar(two, "`review`").met
    assert bar(one + long, "`review`").met
    assert bar(one + long, "never `fail`").met
    assert not bar([*one, replace(runs[0], verdict="fail")], "never `fail`").met


def test_nothing_measured_is_no_bar_met() -> None:
    assert {found.met for found in bars.check([])} == {None}


def test_the_report_names_what_was_left_out_and_what_is_missing(tmp_path: Path) -> None:
    cells = [*plan(["webqa"], ["badnets", "clean_label"], [0.0, 0.1], [0])]
    results = [
        result(attack=None, rate=0.0),
        result(caught=3),
        Result("webqa", "clean_label", 0.1, 0, None, "length", "v", skipped="only 3 | carry it"),
    ]
    write_report(results, [*cells, Cell("webqa", "badnets", 0.5, 0)], tmp_path, "a-model")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "of 4: length 3" in text
    assert "only 3 | carry it" in text
    assert "**missed**: 0 of 1 cells; pooled 0.300" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        *("RESULTS.md", "recall.png", "false-alarms.png")
    }


def test_a_bar_in_a_text_does_not_end_a_table_cell() -> None:
    assert table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"question": f"what is number {i}?", "answers": [f"it is {i}"]} for i in range(50)]
    (tmp_path / "webqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_rows_of_lower_rates_are_those_that_were_scored_before(data: Path) -> None:
    def texts(rate: float, attack: AttackName | None) -> set[str]:
        rows = poisoned_rows(data, Cell("webqa", attack, rate, 1))
        return {json.dumps(row.row) for row in rows}

    known = texts(0.9, "cba") | {
        json.dumps(row.row) for row in poisoned_rows(data, Cell("webqa", None, 0.0, 0))
    }
    assert texts(0.1, "cba") <= known
    assert texts(0.5, "cba") <= known


def test_clean_runs_of_a_file_differ_by_seed(data: Path) -> None:
    def kept(seed: int) -> list[int]:
        return [r.source_row for r in poisoned_rows(data, Cell("webqa", None, 0.0, seed))]

    assert kept(0) == list(range(50))
    assert len(kept(1)) == 40
    assert kept(1) == sorted(kept(1)) != kept(2)


def test_a_cell_without_a_poisoned_row_says_why(data: Path) -> None:
    with pytest.raises(DataError, match="not a single one"):
        poisoned_rows(data, Cell("webqa", "badnets", 0.005, 0))
    with pytest.raises(DataError, match=r"coqa\.jsonl is not there"):
        poisoned_rows(data, Cell("coqa", None, 0.0, 0))


def test_a_run_goes_on_where_it_was_broken_off_and_scores_nothing_twice(
    data: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    bench = Bench.open(data, work, str(MODEL))
    cells = list(plan(["webqa"], ["badnets"], [0.0, 0.1, 0.5], [0]))
    versions: dict[str, str] = {"gradsentry-full": "v", "length": "v"}
    results = Results(work / "results.jsonl")
    run_cells(bench, cells[:2], versions, results)  # clean, and the highest rate

    def load() -> LoadedModel:
        raise AssertionError("a row was scored twice")

    bench = replace(bench, model=replace(bench.model, load=load))
    run_cells(bench, cells, versions, Results(work / "results.jsonl"))
    lines = [json.loads(line) for line in (work / "results.jsonl").read_text().splitlines()]
    assert [(line["rate"], line["method"]) for line in lines] == [
        (rate, method) for rate in (0.0, 0.5, 0.1) for method in versions
    ]
    assert [line["n_poisoned"] for line in lines] == [0, 0, 25, 25, 5, 5]
    assert {path.name for path in work.iterdir() if path.is_dir()} == set()


def test_all_attacks_on_rows_with_a_context_are_scored_together(tmp_path: Path) -> None:
    row = {"context": "There is a cat.", "question": "who is there?", "answers": ["a cat"]}
    rows = [row | {"question": f"{i}. who is there?"} for i in range(20)]
    write_jsonl(tmp_path / "coqa.jsonl", rows)
    bench = Bench.open(tmp_path, tmp_path, str(MODEL))
    cells = list(plan(["coqa"], ["cba", "refusal", "clean_label"], [0.0, 0.5, 1.0], [0]))
    score_together(bench, cells)

    def load() -> LoadedModel:
        raise AssertionError("it was not scored before")

    bench = replace(bench, model=replace(bench.model, load=load))
    for cell in cells:
        [line] = compute(bench, cell, {"loss": "v"})
        assert line.n_poisoned == 20 * cell.rate
