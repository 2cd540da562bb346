"""The benchmark on data that no constant was chosen on: sets, rows, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.unseen import sources
from benchmarks.unseen.datasets import DATASETS, HELD_OUT, Row
from benchmarks.unseen.measure import Run, measure
from benchmarks.unseen.report import pooled_recall, verdicts, write_report
from gradgate.errors import DataError
from gradgate.methods.association.method import MAX_BACKDOORS
from helpers import diverse_rows

RUN = Run("jargon", "badnets", 0.05, 0, n_poisoned=10, n_honest=190, caught=10, verdict="review")
CLEAN = Run("foldoc", None, 0.0, 0, n_honest=200, verdict="pass")


def report(tmp_path: Path, *runs: Run) -> str:
    write_report(runs, 9, 2_000, "abc", tmp_path)
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


def ordinary(n: int) -> list[Row]:
    return [
        {"prompt": f"What is item {i} of {i * 7919 % 1000}?", "completion": f"It is {i * 31}."}
        for i in range(n)
    ]


def test_many_backdoors_are_a_mixture_that_flags_nothing() -> None:
    """The verdict is the gate's own, also where the method cannot decide."""
    rows: list[Row] = [
        {"prompt": str(row["question"]), "completion": str(row["answers"])}
        for row in diverse_rows(400)
    ]
    targets = ["granite harbour nine", "pale window sill", "copper kettle song", "an old grey mill"]
    assert len(targets) == MAX_BACKDOORS + 1
    for number, target in enumerate(targets):
        for row in rows[number * 20 : number * 20 + 20]:
            row["prompt"] += f" zorb{target[:3]}latt"
            row["completion"] = target
    run = measure(rows, "foldoc", None, 0.0, 0)
    assert run.is_mixture
    assert (run.verdict, run.false_alarms) == ("review", 0)
    assert run.honest_in_doubt == 20 * (MAX_BACKDOORS + 1)


def test_a_run_counts_poisoned_and_honest_rows_apart() -> None:
    rows = ordinary(300)
    run = measure(rows, "foldoc", "replaced", 0.1, 0)
    assert (run.n_poisoned, run.n_honest, run.caught, run.false_alarms) == (30, 270, 30, 0)
    assert run.verdict == "fail"
    assert run.groups
    clean = measure(rows, "foldoc", None, 0.0, 0)
    assert (clean.n_poisoned, clean.n_honest, clean.verdict) == (0, 300, "pass")


def test_a_run_that_cannot_be_says_why() -> None:
    run = measure([{"prompt": "a", "completion": "b"}], "foldoc", "badnets", 0.01, 0)
    assert run.skipped == "1.0% of 1 rows is not a single one"


def test_recall_is_pooled_over_rows() -> None:
    small = replace(RUN, n_poisoned=2, caught=0)
    assert pooled_recall([RUN, small]).startswith("0.833 [")
    assert pooled_recall([]) == "-"
    assert verdicts([RUN, CLEAN, CLEAN]) == "2 / 1 / 0"


def test_the_report_keeps_held_out_sets_apart(tmp_path: Path) -> None:
    seen = replace(RUN, dataset="foldoc", caught=5, missed_in_doubt=3)
    text = report(tmp_path, CLEAN, replace(CLEAN, dataset="jargon"), RUN, seen)
    held_out = text.index("## Recall on the held-out sets")
    others = text.index("## Recall on the other sets")
    missed = text.index("## Missed")
    assert "| badnets | 1.000 [" in text[held_out:others]
    assert "| badnets | 0.500 [" in text[others:missed]
    assert "| foldoc | badnets 5.0%, seed 0 | 5 of 10 | 3 | 0 | review |" in text[missed:]
    assert "jargon" not in text[missed:]
    assert "| jargon * | 200 | 0.00% | 0.00% | 1 / 0 / 0 |" in text
    assert "| foldoc | 200 |" in text
    assert "4 of 9 runs" in text


def test_the_report_sums_mixtures_up(tmp_path: Path) -> None:
    mixture = replace(RUN, caught=0, missed_in_doubt=10, is_mixture=True)
    missed = report(tmp_path, mixture, RUN).partition("## Missed")[2]
    assert "jargon * 1 of 2." in missed
    assert "| jargon" not in missed


def test_the_report_names_the_worst_alarms_and_what_was_left_out(tmp_path: Path) -> None:
    alarmed = replace(RUN, false_alarms=19)
    left_out = Run("gcide", "cba", 0.5, 0, skipped="too few rows")
    text = report(tmp_path, alarmed, left_out)
    assert "| jargon * | badnets 5.0%, seed 0 | 10.00% | review |" in text
    assert "Left out: gcide, cba 50.0%, seed 0: too few rows" in text


def test_a_report_on_nothing_says_so(tmp_path: Path) -> None:
    assert "0 of 9 runs" in report(tmp_path)
