"""Every row of a source is accounted for, in the schema that it had."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.in_memory import rows_in_memory
from gradgate.errors import DataError
from gradgate.gate.accounts import ACCOUNTS, accepted_rows, read_accounts, settle
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.row_files import RowKind
from gradgate.gate.verdict import Accounts, Verdict
from gradgate.models.loading import load_tokenizer
from helpers import MODEL, diverse_rows, poisoned_rows, write_jsonl

Row = dict[str, Any]
N, N_POISONED = 240, 24


def config(source: Path | str, **policy: object) -> GateConfig:
    return GateConfig.model_validate(
        {
            "data": {"source": str(source), "max_rejected_fraction": 0.2},
            "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
            "detection": {"power": {"attacks": []}},
            "policy": {"max_poison_fraction": 0.2, "review_above": 0.2, **policy},
        }
    )


def mixed_rows() -> list[Row]:
    """Honest rows, poisoned ones, four copies of one, and nested values that nobody reads."""
    rows, _ = poisoned_rows(diverse_rows(N), "badnets", N_POISONED / N)
    rows += [rows[0]] * 4
    return [{**row, "meta": {"n": i, "tags": [None, 1.5]}} for i, row in enumerate(rows)]


def gated(source: Path, folder: Path, **policy: object) -> tuple[Verdict, RunFolder]:
    run = RunFolder(folder)
    return run_gate(config(source, **policy), run), run


def lines(run: RunFolder, state: str) -> list[Row]:
    text = (run.rows / f"{state}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_row_is_in_one_file_as_it_was(tmp_path: Path) -> None:
    rows = mixed_rows()
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    with source.open("a", encoding="utf-8") as file:
        file.write('{"question": "who", "answers": 7, "meta": {}}\n{"question": \n')
    verdict, run = gated(source, tmp_path / "run")
    assert verdict.decision == "pass", verdict.reasons
    assert verdict.accounts == Accounts(
        n_rows=N + 6,
        n_accepted=N - N_POISONED + 3 - 1,
        n_flagged=N_POISONED,
        n_in_doubt=0,
        n_copies=2,
        n_not_cleared=0,
        n_rejected=2,
    )
    accounts = list(read_accounts(run.rows / ACCOUNTS))
    assert [one.row for one in accounts] == list(range(N + 6))
    assert lines(run, "accepted") == [rows[row] for row in accepted_rows(run.rows)]
    kept_out = [one for one in accounts if one.state == "quarantine"]
    for one, line in zip(kept_out, lines(run, "quarantine"), strict=True):
        own = line.pop("gradgate")
        assert own == {
            "row": one.row, "why": one.why, "reasons": one.reasons, "groups": one.groups
        }  # fmt: skip
        assert line == rows[one.row]
        assert one.reasons
    wrong, broken = lines(run, "rejected")
    assert (wrong["answers"], wrong["gradgate"]["row"]) == (7, N + 4)
    assert broken["gradgate"]["raw"] == '{"question": '
    assert "malformed JSON" in broken["gradgate"]["reasons"][0]
    assert not run.source_rows.exists()


@pytest.mark.parametrize(
    ("policy", "decision"), [({"flagged": "block"}, "fail"), ({"review_above": 0.0}, "review")]
)
def test_without_a_pass_nothing_is_accepted(tmp_path: Path, policy: Row, decision: str) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", mixed_rows())
    verdict, run = gated(source, tmp_path / "run", **policy)
    assert verdict.decision == decision
    found = verdict.accounts
    assert found is not None
    assert (found.n_accepted, found.n_flagged, found.n_copies) == (0, N_POISONED, 2)
    assert found.n_sum == found.n_rows == N + 4
    assert lines(run, "accepted") == []
    whys = [one.why for one in read_accounts(run.rows / ACCOUNTS)]
    assert whys.count("verdict") == found.n_not_cleared == N + 2 - N_POISONED


def test_rows_that_were_never_judged_are_in_quarantine(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*diverse_rows(3), {"question": "?"}])
    verdict, run = gated(source, tmp_path / "run")
    assert (verdict.decision, verdict.answers) == ("fail", [])
    assert verdict.accounts == Accounts(4, 0, 0, 0, 0, 3, 1)
    accounts = list(read_accounts(run.rows / ACCOUNTS))
    assert [one.why for one in accounts] == ["not judged"] * 3 + ["rejected"]


def test_parquet_stays_parquet_with_its_types(tmp_path: Path) -> None:
    rows = mixed_rows()
    table = pa.table(
        {
            "question": [row["question"] for row in rows],
            "answers": pa.array([row["answers"] for row in rows]).dictionary_encode(),
            "n": pa.array(range(len(rows)), pa.int16()),
            "meta": [row["meta"] for row in rows],
        }
    ).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, tmp_path / "rows.parquet")
    verdict, run = gated(tmp_path / "rows.parquet", tmp_path / "run")
    assert verdict.decision == "pass"
    source = pq.read_table(tmp_path / "rows.parquet")
    accepted = pq.read_table(run.rows / "accepted.parquet")
    assert accepted.schema.equals(source.schema, check_metadata=True)
    assert accepted.equals(source.take(list(accepted_rows(run.rows))))
    kept_out = pq.read_table(run.rows / "quarantine.parquet")
    own = kept_out["gradgate"].to_pylist()
    assert kept_out.drop_columns("gradgate").equals(source.take([one["row"] for one in own]))
    assert {one["why"] for one in own} == {"flagged", "copy"}
    assert pq.read_table(run.rows / "rejected.parquet").num_rows == 0


def images(n: int) -> datasets.Dataset:
    """Rows with values that JSON does not know."""
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "answers": datasets.Value("string"),
            "when": datasets.Value("timestamp[us]"),
            "blob": datasets.Value("binary"),
            "grid": datasets.Array2D((2, 2), "float32"),
            "image": datasets.Image(),
        }
    )
    pixels = np.zeros((2, 2, 3), np.uint8)
    rest = {"when": 0, "blob": b"\xff", "grid": [[1.0, 2.0], [3.0, 4.0]], "image": pixels}
    return datasets.Dataset.from_list([{**row, **rest} for row in diverse_rows(n)], features)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_values_that_json_does_not_know_stay_as_they_are(tmp_path: Path, is_streamed: bool) -> None:
    data = images(120)
    source = data.to_iterable_dataset() if is_streamed else data
    prepared, run = kept(tmp_path, list(rows_in_memory(source)))
    settle(run, prepared, Verdict("fail", ["no"], n_rows=prepared.n_rows))
    path, features = str(run.rows / "quarantine.parquet"), data.features
    written = datasets.Dataset.from_parquet(path, cache_dir=str(tmp_path / "cache"))
    rest = written.remove_columns("gradgate")
    assert rest.features == features
    assert _stored(rest) == _stored(data)


def _stored(data: datasets.Dataset) -> list[Row]:
    rows: list[Row] = data.cast_column("image", datasets.Image(decode=False)).to_list()
    return rows


def kept(folder: Path, rows: list[RawRow]) -> tuple[Prepared, RunFolder]:
    run = folder / "run"
    settings = config("in-memory").data.model_copy(update={"ignore_columns": ["image"]})
    prepared = prepare(settings, load_tokenizer(config("m").model), 512, run, rows, keep_rows=True)
    return prepared, RunFolder(run)


def test_tables_of_several_schemas_become_lines(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, values in enumerate(([1] * 20, ["one"] * 20)):
        same = diverse_rows(20)
        columns = {name: [row[name] for row in same] for name in ("question", "answers")}
        pq.write_table(pa.table({**columns, "n": values}), folder / f"{number}.parquet")
    verdict, run = gated(folder, tmp_path / "run")
    assert verdict.accounts is not None
    found = [line["n"] for state in ("accepted", "quarantine") for line in lines(run, state)]
    assert sorted(map(str, found)) == ["1"] * 20 + ["one"] * 20


VERDICT = Verdict("fail", ["no"], n_rows=5, n_rejected=1)


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (replace(VERDICT, n_rows=6), "there are 5 rows, and there should be 6"),
        (replace(VERDICT, n_rejected=0), "1 rejected rows, and there should be 0"),
        (replace(VERDICT, n_accepted=1), "0 accepted rows, and there should be 1"),
        (replace(VERDICT, n_quarantined=2), "0 rows in doubt and copies"),
    ],
)
def test_sums_that_are_wrong_are_an_error(tmp_path: Path, verdict: Verdict, message: str) -> None:
    rows: list[Row] = [*diverse_rows(4), {"question": "?"}]
    prepared, run = kept(tmp_path, list(rows_in_memory(rows)))
    with pytest.raises(DataError, match=message):
        settle(run, prepared, verdict)
    assert not run.rows.exists()


@pytest.mark.parametrize("table", ["samples", "rejected"])
def test_a_row_that_is_lost_or_there_twice_is_an_error(tmp_path: Path, table: str) -> None:
    rows: list[Row] = [*diverse_rows(4), {"question": "?"}]
    prepared, run = kept(tmp_path, list(rows_in_memory(rows)))
    path = {"samples": run.samples, "rejected": run.rejected}[table]
    whole = pq.read_table(path)
    for changed in (whole.slice(1), pa.concat_tables([whole.slice(0, 1), whole])):
        pq.write_table(changed, path)
        with pytest.raises(DataError, match="is not accounted for"):
            settle(run, prepared, VERDICT)
    pq.write_table(whole, path)
    shutil.rmtree(run.source_rows)
    with pytest.raises(DataError, match="row 0 of the source is not accounted for"):
        settle(run, prepared, VERDICT)


@pytest.mark.parametrize("own", ["[1]", "5", '{"row": 1}', "[" * 100_000])
def test_what_the_gate_did_not_write_is_no_row_of_it(tmp_path: Path, own: str) -> None:
    path = tmp_path / "quarantine.jsonl"
    path.write_text(f'{{"gradgate": {own}\n')
    with pytest.raises(DataError, match="is no file of the gate's rows"):
        list(RowKind().read(path, kept_out=True))
