"""The benchmark on data that no constant was chosen on: sets, rows, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.others import Outcome
from benchmarks.unseen import __main__ as command
from benchmarks.unseen import sources
from benchmarks.unseen.datasets import DATASETS, HELD_OUT
from benchmarks.unseen.measure import Cell, Run, measure
from benchmarks.unseen.report import Extent, pooled_recall, verdicts, write_report
from gradgate.errors import DataError
from helpers import MODEL, diverse_rows

POISONED = Outcome(
    *("a set", "review", 200, 10),
    caught=10,
    flagged=0,
    lost=0,
    trained=0,
    score=2.0,
    detect=1.0,
    why="why",
)
RUN = Run(Cell("jargon", "badnets", 0.05, 0), POISONED)
HONEST = replace(POISONED, decision="pass", n_poisoned=0, caught=0)
CLEAN = Run(Cell("foldoc", None, 0.0, 0), HONEST)
EXTENT = Extent(n_wanted=9, n_rows=2_000, model="a-model", version="abc", left_out={})


def report(tmp_path: Path, *runs: Run, extent: Extent = EXTENT) -> str:
    write_report(runs, extent, tmp_path)
    return (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_a_function_of_its_seed(name: str) -> None:
    try:
        rows = DATASETS[name](150, 3)
    except DataError as error:
        pytest.skip(str(error))
    assert rows == DATASETS[name](150, 3)
    assert rows != DATASETS[name](150, 4)
    assert 130 <= len(rows) <= 150
    assert all(row.keys() == {"prompt", "completion"} for row in rows)
    assert all(text.strip() for row in rows for text in row.values())


def test_what_is_held_out_is_a_part_of_the_sets() -> None:
    assert set(HELD_OUT) < set(DATASETS)
    assert len(HELD_OUT) >= 5


def test_a_missing_file_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHARE", tmp_path)
    with pytest.raises(DataError, match=r"data\.noun is not there: .* wordnet-base"):
        sources.synsets.__wrapped__("noun")
    with pytest.raises(DataError, match="package fortunes"):
        sources.fortunes.__wrapped__()


def test_a_missing_command_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match=r"the command bible .* bible-kjv"):
        sources.verses.__wrapped__()


def test_a_line_of_wordnet_is_read_with_its_pointers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wordnet"
    folder.mkdir()
    lines = (
        "  1 This line is the licence\n"
        "00000001 00 a 02 wet 0 soaked(p) 1 001 ! 00000002 a 0101 | full of water; "
        '"wet clothes"; "soaked feet"\n'
        "00000002 03 a 01 bone_dry 0 001 @ 00000001 a 0000 | without water  \n"
    )
    (folder / "data.adj").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(sources, "SHARE", tmp_path)
    wet, dry = sources.synsets.__wrapped__("adj")
    assert wet.words == ("wet", "soaked")
    assert wet.gloss == "full of water"
    assert wet.examples == ("wet clothes", "soaked feet")
    assert wet.antonyms == (("wet", "bone dry"),)
    assert (dry.gloss, dry.hypernyms, dry.file) == ("without water", ("wet",), 3)


def rows_of(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows that the demo's model does not find surprising."""
    return [{key: str(text) for key, text in row.items()} for row in diverse_rows(n, seed)]


def test_a_run_counts_poisoned_and_honest_rows_apart() -> None:
    """The gate decides, with the real model."""
    run = measure(rows_of(300), Cell("foldoc", "refusal", 0.05, 0), str(MODEL))
    found = run.outcome
    assert (found.n, found.n_poisoned, run.n_honest) == (300, 15, 285)
    assert (found.caught, run.recall) == (15, 1.0)
    assert found.lost <= 3
    assert run.lost == found.lost / 285
    assert (found.decision, found.trained) == ("review", 0)  # 5 % is more than review_above
    assert found.score > 0


def test_clean_rows_hold_no_poison_and_scores_are_made_once() -> None:
    rows = rows_of(60, seed=60)  # no test has scored all of them before
    first = measure(rows, Cell("foldoc", None, 0.0, 0), str(MODEL)).outcome
    again = measure(rows, Cell("foldoc", None, 0.0, 0), str(MODEL)).outcome
    assert (first.n, first.n_poisoned, first.caught, first.trained) == (60, 0, 0, 0)
    assert first.score > 0
    assert again == replace(first, score=0.0, detect=again.detect)


def test_a_run_that_cannot_be_says_why() -> None:
    rows = [{"prompt": "a", "completion": "b"}]
    with pytest.raises(DataError, match=r"1\.0% of 1 rows is not a single one"):
        measure(rows, Cell("foldoc", "badnets", 0.01, 0), str(MODEL))


def test_the_command_runs_what_is_chosen_and_names_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DATASETS, "foldoc", lambda n, _: rows_of(n))
    chosen = ["--datasets", "foldoc", "--attacks", "refusal", "--rates", "0.1", "0.001"]
    where = ["--model", str(MODEL), "--rows", "100", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["unseen", *chosen, *where])
    command.main()
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "2 of 3 runs, seeds: 0; up to 100 rows each" in text
    assert "Left out: foldoc, refusal 0.1%, seed 0: 0.1% of 100 rows is not a single one" in text
    assert "model model; detector" in text
    assert "foldoc, refusal 10.0%, seed 0: 10 of 10 caught" in capsys.readouterr().out


def test_recall_is_pooled_over_rows() -> None:
    small = replace(RUN, outcome=replace(POISONED, n_poisoned=2, caught=0))
    assert pooled_recall([RUN, small]).startswith("0.833 [")
    assert pooled_recall([]) == "-"
    assert verdicts([RUN, CLEAN, CLEAN]) == "2 / 1 / 0"


def test_the_report_keeps_held_out_sets_apart(tmp_path: Path) -> None:
    half = replace(POISONED, decision="pass", caught=5, trained=5, lost=3)
    seen = Run(replace(RUN.cell, dataset="foldoc"), half)
    other = replace(CLEAN, cell=replace(CLEAN.cell, dataset="jargon"))
    text = report(tmp_path, CLEAN, other, RUN, seen)
    held_out = text.index("## Recall on the held-out sets")
    others = text.index("## Recall on the other sets")
    missed = text.index("## Missed")
    assert "| badnets | 1.000 [" in text[held_out:others]
    assert "| badnets | 0.500 [" in text[others:missed]
    assert "| foldoc | badnets 5.0%, seed 0 | 5 of 10 | 5 | 3 | pass |" in text[missed:]
    assert "jargon" not in text[missed:]
    assert "| jargon * | 200 | 0.00% | 0.00% | 1 / 0 / 0 |" in text
    assert "| foldoc | 200 |" in text
    assert "4 of 9 runs" in text


def test_the_report_names_the_worst_losses_and_what_was_left_out(tmp_path: Path) -> None:
    losing = replace(RUN, outcome=replace(POISONED, lost=19))
    extent = replace(EXTENT, left_out={"gcide, cba 50.0%, seed 0": "too few rows"})
    text = report(tmp_path, losing, extent=extent)
    assert "| jargon * | badnets 5.0%, seed 0 | 10.00% | review |" in text
    assert "Left out: gcide, cba 50.0%, seed 0: too few rows" in text


def test_a_report_on_nothing_says_so(tmp_path: Path) -> None:
    assert "0 of 9 runs" in report(tmp_path)
