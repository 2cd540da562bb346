"""The library: the data and configurations that it takes, and what it gives back."""

import gc
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
from api_helpers import CONFIG, MODEL_PATH, ROWS
from forked import Forker

import gradgate
from gradgate.common.run_folder import QUARANTINED_SCHEMA, REJECTED_SCHEMA, SCORE_SCHEMA, RunFolder
from gradgate.config import DEFAULT_TEMPLATE
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.errors import ConfigError, DataError
from gradgate.gate.acceptance import accept
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import load_verdict
from gradgate.train.config import GatedFinetuneConfig
from helpers import diverse_rows, poisoned_rows, write_jsonl

ROOT = Path(__file__).parents[2]


def with_sections(**sections: dict[str, Any]) -> dict[str, Any]:
    return {name: {**CONFIG.get(name, {}), **sections.get(name, {})} for name in CONFIG | sections}


@pytest.fixture(scope="module")
def found() -> gradgate.DetectionResult:
    """Three hundred rows, a tenth of them poisoned."""
    rows, _ = poisoned_rows(diverse_rows(300), "badnets", 0.1)
    return gradgate.detect(rows, MODEL_PATH, config=CONFIG)


# Sources


def test_a_path_a_list_and_a_dataset_are_the_same_data(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    sources: list[Any] = [str(path), path, ROWS, datasets.Dataset.from_list(ROWS)]
    results = [gradgate.detect(source, MODEL_PATH, config=CONFIG) for source in sources]
    expected = results[0]
    assert expected.verdict.n_scored == 40
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert [one.verdict.source_sha256 for one in results] == [digest, digest, None, None]
    for result in results[1:]:
        # The files say where the rows came from, and rows of a table are kept as one.
        files = expected.verdict.files
        assert replace(result.verdict, files=files, source_sha256=digest) == expected.verdict
        assert result.verdict.files["samples.parquet"] == expected.verdict.files["samples.parquet"]
        assert result.table.equals(expected.table)


def test_rows_come_from_any_iterable() -> None:
    def rows() -> Iterator[dict[str, object]]:
        yield from ROWS

    source: Any = datasets.IterableDataset.from_generator(rows)
    expected = gradgate.score(ROWS, MODEL_PATH, config=CONFIG)
    assert gradgate.score(source, MODEL_PATH, config=CONFIG).table.equals(expected.table)


def test_a_dataset_of_splits_is_an_error_that_names_them() -> None:
    data = datasets.Dataset.from_list(ROWS)
    source: Any = datasets.DatasetDict({"train": data, "test": data})
    with pytest.raises(DataError, match="splits train, test; pass one of them"):
        gradgate.detect(source, MODEL_PATH, config=CONFIG)


@pytest.mark.parametrize("source", [{"prompt": "a"}, b"rows", 7, None, pd.DataFrame(ROWS)])
def test_what_is_no_data_is_an_error_that_names_it(source: Any) -> None:
    with pytest.raises(DataError, match=f"not a {type(source).__name__}"):
        gradgate.detect(source, MODEL_PATH, config=CONFIG)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none"):
        gradgate.detect(tmp_path / "none.jsonl", MODEL_PATH, config=CONFIG)


@pytest.mark.parametrize(
    ("name", "value"),
    [("expected_rows", 500), *((name, ";") for name in ("split", "name", "revision", "delimiter"))],
)
def test_a_setting_that_nothing_would_read_is_an_error(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"data.{name} says how a source is read"):
        gradgate.detect(ROWS, MODEL_PATH, config=with_sections(data={name: value}))


def test_a_row_in_memory_may_be_larger_than_one_of_a_file() -> None:
    """It is written to a file, which is read once more before it is attested."""
    rows = [{**row, "note": ""} for row in diverse_rows(150)]
    rows[5]["note"] = "x" * (2 << 20)
    config = with_sections(data={"limits": {"row_mib": 1}})
    assert gradgate.detect(rows, MODEL_PATH, config=config).verdict.n_accepted == 150


def test_rows_that_are_no_mappings_are_rejected_with_the_reason() -> None:
    rows: Any = ["a text", ROWS[0], None, *ROWS[1:], ["a list"], {1: "a", 2: "b"}]
    config = with_sections(data={"max_rejected_fraction": 0.2})
    result = gradgate.detect(rows, MODEL_PATH, config=config)
    assert (result.verdict.n_rows, result.verdict.n_rejected) == (44, 4)
    assert result.rejected.to_pylist() == [
        {"row": 0, "reason": "a str, not a mapping", "content": "'a text'"},
        {"row": 2, "reason": "a NoneType, not a mapping", "content": "None"},
        {"row": 42, "reason": "a list, not a mapping", "content": "['a list']"},
        {
            "row": 43,
            "reason": "a column whose name is no text",
            "content": "{1: 'a', 2: 'b'}",
        },
    ]
    assert result.table["row"].to_pylist() == [1, *range(3, 42)]


def test_data_that_are_not_fit_to_be_scored_have_a_verdict_and_no_table(tmp_path: Path) -> None:
    rows: Any = [*ROWS, "a text", "another"]
    result = gradgate.detect(rows, MODEL_PATH, config=CONFIG)
    assert result.verdict.decision == "fail"
    assert "2 of 42 rows are rejected" in result.verdict.reasons[0]
    assert result.groups == []
    with pytest.raises(DataError, match="2 of 42 rows are rejected"):
        result.to_pandas()
    folder = RunFolder(result.save(tmp_path / "evidence"))
    assert load_verdict(folder.verdict) == result.verdict
    assert folder.summary.read_text().startswith("# Fail")
    assert not folder.report.exists()
    assert pq.read_table(folder.rejected).num_rows == 2


# What comes back


def test_a_result_is_shown_in_figures(found: gradgate.DetectionResult) -> None:
    shown = repr(found)
    assert shown.startswith(f"<DetectionResult {found.verdict.decision}: ")
    assert "rows flagged as poisoned" in shown


def test_the_table_says_of_each_row_what_it_is(found: gradgate.DetectionResult) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "badnets", 0.1)
    verdict = found.verdict
    answer = verdict.answer("poisoned")
    assert answer is not None
    assert (verdict.decision, verdict.n_scored, answer.n_flagged) == ("fail", 300, 30)
    assert found.groups == answer.groups
    assert found.groups[0].n_rows == 30
    table = found.to_pandas()
    assert table["row"][table["flagged"]].tolist() == poisoned
    assert table["row"].tolist() == list(range(300))
    mapping = detect_format(rows[0])
    ids = [to_sample(row, i, mapping, DEFAULT_TEMPLATE).sample_id for i, row in enumerate(rows)]
    assert table["sample_id"].tolist() == ids
    assert found.table.num_rows == 300
    assert found.rejected.num_rows == 0


def test_scoring_judges_nothing() -> None:
    result = gradgate.score(ROWS, MODEL_PATH, config=CONFIG)
    assert result.table.schema.equals(SCORE_SCHEMA)
    assert result.rejected.schema.equals(REJECTED_SCHEMA)
    assert (result.summary.n_rows, result.summary.n_failed) == (40, 0)
    frame = result.to_pandas()
    assert frame["spectral_entropy"].between(0, 1).all()
    assert set(frame["status"]) == {"scored"}


def test_nothing_to_score_is_an_error() -> None:
    rows: Any = ["a text"]
    with pytest.raises(DataError, match="none of the 1 rows"):
        gradgate.score(rows, MODEL_PATH, config=CONFIG)


def test_the_evidence_is_saved_whole(found: gradgate.DetectionResult, tmp_path: Path) -> None:
    folder = found.save(tmp_path / "deep" / "evidence")
    run = RunFolder(folder)
    assert {path.name for path in folder.iterdir()} == {
        "samples.parquet", "rejected.parquet", "dataset.json", "scores.parquet", "flags.parquet",
        "flagged.parquet", "quarantined.parquet", "verdict.json", "verdict.md", "report.html",
        "attestation.json", "findings.json", "rows",
    }  # fmt: skip
    assert load_verdict(run.verdict) == found.verdict
    assert pq.read_table(run.flags).equals(found.table)
    assert accept(folder).dataset_fingerprint == found.verdict.dataset_fingerprint
    assert "malicious" in run.report.read_text(encoding="utf-8")
    assert [path.name for path in folder.parent.iterdir()] == ["evidence"]
    assert found.save(tmp_path / "again").is_dir()  # as often as one likes


def test_what_is_quarantined_has_its_texts_and_is_not_accepted() -> None:
    rows = [*ROWS, *[{**ROWS[0]}] * 5]
    policy = {"max_poison_fraction": 0.5, "review_above": 0.5, "expected": ["no such text"]}
    result = gradgate.detect(rows, MODEL_PATH, config={**CONFIG, "policy": policy})
    assert result.quarantined.schema.equals(QUARANTINED_SCHEMA)
    assert result.quarantined["row"].to_pylist() == [42, 43, 44]
    assert set(result.quarantined["why"].to_pylist()) == {"copy"}
    assert (result.verdict.n_quarantined, result.verdict.n_accepted) == (3, 42)
    assert [e.n_rows for e in result.verdict.expected] == [0]
    frame = result.to_pandas()
    accepted = ~(frame["flagged"] | frame["in_doubt"] | frame["surplus_copy"])
    assert int(accepted.sum()) == 42
    kept = gradgate.detect(
        rows, MODEL_PATH, config={**CONFIG, "policy": {**policy, "max_copies": None}}
    )
    assert (kept.quarantined.num_rows, kept.verdict.n_accepted) == (0, 45)


def test_evidence_does_not_replace_what_is_there(
    found: gradgate.DetectionResult, tmp_path: Path
) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in ("evidence", "file", "file/below"):
        with pytest.raises(DataError, match=f"cannot be kept in .*{taken}"):
            found.save(tmp_path / taken)
    assert {path.name for path in tmp_path.iterdir()} == {"evidence", "file"}
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == ["mine"]


def test_evidence_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    result = gradgate.detect(ROWS, MODEL_PATH, config=CONFIG)
    RunFolder(Path(result._folder.name)).flagged.unlink()
    with pytest.raises(DataError, match="cannot be kept"):
        result.save(tmp_path / "evidence")
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_folder_goes_with_the_result() -> None:
    result = gradgate.detect(ROWS, MODEL_PATH, config=CONFIG)
    folder = Path(result._folder.name)
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.exists()


# Configurations


def test_a_configuration_is_sections_or_a_whole_one() -> None:
    whole = GateConfig.model_validate(
        with_sections(data={"source": "another"}, model={"path": "another"})
    )
    by_sections = gradgate.detect(ROWS, MODEL_PATH, config=CONFIG)
    assert gradgate.detect(ROWS, MODEL_PATH, config=whole).verdict == by_sections.verdict
    tuning = GatedFinetuneConfig.model_validate(whole.model_dump())  # its `finetune` is left aside
    assert gradgate.detect(ROWS, MODEL_PATH, config=tuning).verdict == by_sections.verdict


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"detection": {"methods": ["none"]}}, "none"),
        ({"polcy": {}}, "polcy"),
        ({"data": {"max_token": 7}}, "max_token"),
        ({"data": 7}, "data"),
        ({"model": [1, 2]}, "model"),
        ("gate.yaml", "not a str"),
        ([], "not a list"),
    ],
)
def test_a_wrong_configuration_is_named(config: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        gradgate.detect(ROWS, MODEL_PATH, config=config)


def test_a_reference_decides_and_stands_in_the_verdict(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "badnets", 0.1)
    trusted = write_jsonl(tmp_path / "trusted.jsonl", diverse_rows(300, seed=2))
    config = with_sections(detection={"reference": str(trusted), "reference_epochs": 0})
    result = gradgate.detect(rows, MODEL_PATH, config=config)
    reference = result.verdict.reference
    assert reference is not None
    assert (reference.source, reference.n_samples) == (str(trusted), 300)
    again = gradgate.detect(trusted, MODEL_PATH, config=CONFIG)
    assert reference.fingerprint == again.verdict.dataset_fingerprint
    table = result.to_pandas()
    assert table["row"][table["flagged"]].tolist() == poisoned
    (group,) = result.verdict.answers[0].groups
    assert "0 of 300 samples of the trusted reference" in group.reasons[-1]


# The package


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_is_imported_without_its_libraries() -> None:
    heavy = ["torch", "pandas", "numpy", "transformers", "datasets", "pydantic", "pyarrow"]
    code = f"""
import json, sys
import gradgate
gradgate.__version__, dir(gradgate)
print(json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""
    assert json.loads(run(code)) == []


def test_the_examples_of_the_package_run(commands: Forker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = """
import doctest, sys
import gradgate
found = doctest.testmod(gradgate)
assert found.attempted == 3, found
sys.exit(found.failed)
"""
    done = commands.run(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_is_there() -> None:
    assert set(gradgate.__all__) <= set(dir(gradgate))
    for name in gradgate.__all__:
        assert getattr(gradgate, name).__name__ == name
    assert {"detect", "score", "GateConfig", "Verdict"} <= set(gradgate.__all__)
    with pytest.raises(AttributeError, match="no attribute 'detetc'"):
        _ = gradgate.detetc
