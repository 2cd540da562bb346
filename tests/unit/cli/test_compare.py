"""`gradgate compare` as a user types it."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_helpers import Done
from cli_helpers import gradgate as run
from compare_helpers import Abstains, labelled_file, labelled_rows, registered
from matplotlib.image import imread

from gradgate.common.run_folder import RunFolder
from helpers import MODEL, diverse_rows, write_jsonl

METHODS = "recurrence, gradsentry,abstains,breaks"


def compare(source: Path, output: Path, *options: object) -> Done:
    return run("compare", source, "--model", MODEL, "--output", output, *options)


def record(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "compare.json").read_text())
    return found


def lines(output: Path) -> dict[str, dict[str, str]]:
    with (output / "compare.csv").open(newline="") as file:
        return {line["method"]: line for line in csv.DictReader(file)}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Done, Path]]:
    folder = tmp_path_factory.mktemp("compare")
    with registered(), pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        patch.setenv("GRADGATE_STATE_DIR", str(folder / "state"))  # no other test scored these rows
        source = labelled_file(folder / "rows.jsonl")
        yield compare(source, folder / "out", "--methods", METHODS), folder / "out"


def test_every_method_has_a_row_whatever_becomes_of_it(labelled: tuple[Done, Path]) -> None:
    done, output = labelled
    assert done.exit_code == 0, done.stderr
    found = lines(output)
    assert {name: (line["state"], line["verdict"]) for name, line in found.items()} == {
        "recurrence": ("decided", "review"),
        "gradsentry": ("decided", "fail"),
        "abstains": ("undecided", "review"),
        "breaks": ("failed", "error"),
    }
    assert found["abstains"]["reasons"] == "it never decides"
    assert found["breaks"]["reasons"] == r"RuntimeError: a fault of its own \x1b[31m"
    assert "\x1b" not in done.stdout + done.stderr
    assert sorted(path.name for path in output.iterdir()) == [
        *("compare.csv", "compare.json", "compare.png")
    ]
    assert [path.name for path in output.parent.iterdir() if path.suffix == ".part"] == []


def test_the_figures_are_those_of_the_marks_and_the_labels(labelled: tuple[Done, Path]) -> None:
    _, output = labelled
    found = record(output)
    assert (found["n_rows"], found["n_scored"], found["n_positive"]) == (130, 130, {"poisoned": 16})
    by_name = {line["method"]: line for line in found["methods"]}
    entropy = by_name["gradsentry"]["quality"]
    assert [entropy["recall"][part] for part in ("k", "n", "value", "high")] == [16, 16, 1, 1]
    assert entropy["recall"]["low"] == pytest.approx(0.7941, abs=1e-4)  # Clopper-Pearson, 16 of 16
    assert entropy["false_positive_rate"]["n"] == 114
    assert entropy["f1"] == {"value": 1, "low": 1, "high": 1}
    doubtful = by_name["recurrence"]
    assert (doubtful["quality"]["recall"]["value"], doubtful["in_doubt"]["k"]) == (0, 16)
    assert doubtful["quality"]["precision"]["value"] is None  # nothing is flagged
    assert doubtful["quality_kept_out"]["recall"]["value"] == 1
    assert doubtful["auroc"]["value"] == 1
    row = lines(output)["recurrence"]
    assert (row["flagged"], row["in_doubt"], row["precision"], row["recall_kept_out"]) == (
        *("0", "16", "", "1.0"),
    )


def test_a_method_that_cannot_decide_has_an_auroc_and_no_rates(labelled: tuple[Done, Path]) -> None:
    found = {line["method"]: line for line in record(labelled[1])["methods"]}
    abstains = found["abstains"]
    assert (abstains["flagged"], abstains["quality"], abstains["quality_kept_out"]) == (None,) * 3
    assert abstains["auroc"]["value"] > 0.9  # the poison makes texts longer
    assert abstains["auroc"]["low"] < abstains["auroc"]["value"]
    assert abstains["label"] == "poisoned"  # the only column there is
    assert found["breaks"]["auroc"] is None


def test_cost_is_of_the_method_alone_and_of_the_scoring(labelled: tuple[Done, Path]) -> None:
    found = record(labelled[1])
    assert found["scoring"]["cost"]["seconds"] > 0
    for line in found["methods"]:
        assert line["seconds_per_sample"] == pytest.approx(line["cost"]["seconds"] / 130)
        assert 0 <= line["cost"]["peak_mib"] < 2_000


def test_agreement_is_that_of_what_is_kept_out(labelled: tuple[Done, Path]) -> None:
    pairs = {(one["first"], one["second"]): one for one in record(labelled[1])["agreement"]}
    assert len(pairs) == 6
    both = pairs["recurrence", "gradsentry"]
    assert (both["kept_out"]["both"], both["kept_out"]["kappa"]) == (16, 1)
    assert (both["flagged"]["only_second"], both["flagged"]["kappa"]) == (16, 0)
    assert pairs["gradsentry", "abstains"]["kept_out"] is None


def test_the_table_on_a_file_is_as_wide_as_it_needs(labelled: tuple[Done, Path]) -> None:
    done, _ = labelled
    head, names, _, first, interval, *_ = done.stdout.splitlines()
    assert head.split() == ["recall", "recall", "false", "pos.", "false", "pos."]
    assert names.split()[:3] == ["method", "verdict", "flagged"]
    assert first.split()[:6] == ["recurrence", "review", "0.000", "0.123", "0.000", "1.000"]
    assert interval.split()[0] == "0.00-0.03"
    assert "130 samples scored, 0 rows known before" in done.stdout
    assert "Cohen's kappa" in done.stdout
    assert imread(labelled[1] / "compare.png").shape[2] == 4


def test_no_method_sees_a_label_even_where_a_format_would_read_it(tmp_path: Path) -> None:
    """The label stands in a column that becomes a part of the prompt."""
    rows = [
        {"instruction": f"Say {i} twice.", "input": "01"[i % 2], "output": f"{i}, {i}"}
        for i in range(12)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows, {"instruction": 3, "input": 1}])
    options = ("--methods", "abstains", "--data.max_rejected_fraction", 0.5)
    with registered():
        compare(source, tmp_path / "seen", *options)
        assert "### Input:\n1\n" in Abstains.seen[1]
        done = compare(source, tmp_path / "hidden", *options, "--labels", "input")
    assert done.exit_code == 0, done.stderr
    assert len(Abstains.seen) == 12
    assert not any("Input" in text for text in Abstains.seen)
    assert record(tmp_path / "hidden")["n_positive"] == {"input": 6}
    (rejected,) = pq.read_table(RunFolder(tmp_path / "hidden").rejected).to_pylist()
    assert rejected["content"] == '{"instruction": 3}'


def test_without_labels_there_are_fractions_and_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = labelled_file(tmp_path / "rows.jsonl", column=None)
    monkeypatch.setenv("COLUMNS", "50")
    done = compare(source, tmp_path / "out", "--methods", "gradsentry,recurrence")
    assert done.exit_code == 0, done.stderr
    found = record(tmp_path / "out")
    assert found["n_positive"] == {}
    for line in found["methods"]:
        assert (line["label"], line["quality"], line["auroc"]) == (None, None, None)
    assert found["methods"][0]["flagged"]["value"] == pytest.approx(16 / 130)
    assert found["agreement"][0]["kept_out"]["kappa"] == 1
    assert max(map(len, done.stdout.splitlines())) <= 50
    assert done.stdout.splitlines()[0].split() == ["method", "gradsentry"]
    assert "  flagged    0.123  0.07-0.19" in done.stdout
    assert "recall" not in done.stdout


def test_what_a_method_needs_of_a_probing_set_is_scored_in_the_one_pass(tmp_path: Path) -> None:
    source = labelled_file(tmp_path / "rows.jsonl", n=24)
    with registered():
        done = compare(source, tmp_path / "out", "--methods", "gradsentry,by_probes")
    assert done.exit_code == 0, done.stderr
    by_probes = record(tmp_path / "out")["methods"][1]
    assert (by_probes["state"], by_probes["n_silent"]) == ("undecided", 0)
    assert 0 <= by_probes["auroc"]["value"] <= 1


def test_copies_beyond_those_that_may_stay_make_no_methods_agree(tmp_path: Path) -> None:
    rows = diverse_rows(40)
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows, *rows[:1] * 10])
    threshold = "--detection.gradsentry.threshold"
    fixed = (f"{threshold}.method", "fixed", f"{threshold}.value", 1.0)
    done = compare(source, tmp_path / "out", "--methods", "recurrence,gradsentry", *fixed)
    assert done.exit_code == 0, done.stderr
    found = record(tmp_path / "out")
    assert [line["in_doubt"]["k"] for line in found["methods"]] == [8, 8]
    (pair,) = found["agreement"]
    assert pair["kept_out"] == {
        "both": 0, "only_first": 0, "only_second": 0, "neither": 42, "kappa": None,
    }  # fmt: skip


def test_each_method_is_held_against_the_labels_of_its_question(tmp_path: Path) -> None:
    rows = [{**row, "harmful": i < 3} for i, row in enumerate(labelled_rows(24))]
    with registered():
        done = compare(
            write_jsonl(tmp_path / "rows.jsonl", rows),
            tmp_path / "out", "--methods", "gradsentry,abstains", "--compare.seed", 5,
        )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = record(tmp_path / "out")
    assert {line["method"]: line["label"] for line in found["methods"]} == {
        "gradsentry": "poisoned",
        "abstains": "harmful",
    }
    assert (found["n_positive"]["harmful"], found["seed"]) == (3, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "gradsentri"], "there is no method 'gradsentri'; the known ones are"),
        (["--methods", "gradgate,recurrence"], "recurrence is named twice"),
        (["--methods", "[]"], "--detection.methods: List should have at least 1 item"),
        (["--labels", "bad"], "there is no column 'bad' for the labels; the columns found are"),
        (["--labels", "question"], "row 0: column 'question' holds"),
        (
            ["--labels", "a", "--data.columns.question", "question", "--data.columns.answers", "a"],
            "compare.labels 'a' is a column that data.columns reads as text",
        ),
        (["--data.min_rows", "99"], "fewer than data.min_rows 99"),
        (["--compare.method", "gradsentry"], "--compare.method"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    source = labelled_file(tmp_path / "rows.jsonl", n=12)
    done = compare(source, tmp_path / "out", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "out" / "compare.json").exists()


def test_the_output_is_a_folder_outside_of_what_is_read(tmp_path: Path) -> None:
    source = labelled_file(tmp_path / "rows.jsonl", n=12)
    done = compare(source, source)
    assert done.exit_code == 2
    assert "is no folder" in done.stderr
    done = run("compare", tmp_path, "--model", MODEL, "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "would be written into the input" in done.stderr
    (tmp_path / "probed").mkdir()
    probes = tmp_path / "probed" / "compare.json"
    probes.write_text("{}")
    options = ["--methods", "compliance,gradsentry", "--safety.probes", probes]
    done = compare(source, probes.parent, *options)
    assert done.exit_code == 2
    assert "would be written into the input" in done.stderr
    assert probes.read_text() == "{}"
