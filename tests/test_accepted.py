"""Which rows a verdict covers, and every way in which it stops covering them."""

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradgate.accepted import (
    Acceptance,
    NotAcceptedError,
    accept,
    require_passing,
    write_accepted,
)
from gradgate.errors import DataError
from gradgate.prepare import SAMPLE_SCHEMA
from gradgate.samples import Turn, fingerprint, sample_id
from gradgate.scoring.table import SCORE_SCHEMA
from gradgate.verdict import Verdict

ENTROPIES = [0.1, 0.9, 0.3, None, 0.5, 0.2]  # row 1 is flagged at TAU, row 3 was not scored
TAU = 0.5
ACCEPTED = [0, 2, 4, 5]

# The real one, but for the promise of no nulls, which a damaged file does not keep.
NULLABLE_SCORES = pa.schema([field.with_nullable(True) for field in SCORE_SCHEMA])


def sample_line(row: int) -> dict:
    turns = [("prompt", f"question {row}: ", False), ("completion", f"answer {row}", True)]
    return {
        "row": row * 2,  # rejected rows leave gaps
        "sample_id": sample_id(False, [Turn(*turn) for turn in turns]),
        "chat": False,
        "turns": [dict(zip(("role", "text", "is_target"), turn, strict=True)) for turn in turns],
        "n_prompt_chars": 12,
        "n_target_chars": 8,
        "input_ids": [1, 10 + row, 20 + row, 2],
        "is_target": [False, False, True, True],
    }


def score_line(sample: dict, entropy: float | None) -> dict:
    scored = entropy is not None
    return {
        "row": sample["row"],
        "sample_id": sample["sample_id"],
        "spectral_entropy": entropy,
        "n_target_tokens": 2,
        "loss": 1.0 if scored else None,
        "gradient_norm": 1.0 if scored else None,
        "status": "scored" if scored else "failed",
        "reason": None if scored else "the gradient vanishes",
    }


def read(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def write(path: Path, lines: list[dict]) -> None:
    schema = SAMPLE_SCHEMA if path.name == "samples.parquet" else NULLABLE_SCORES
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), path, row_group_size=4)


def passing(found: Acceptance, tau: float | None = TAU) -> Verdict:
    return Verdict(
        "pass",
        ["1 of 5 rows flagged"],
        n_rows=6,
        n_scored=5,
        n_flagged=1,
        tau=tau,
        dataset_fingerprint=found.dataset_fingerprint,
        accepted_fingerprint=found.fingerprint,
        accepted_tokens=found.tokens_digest,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose verdict passes."""
    samples = [sample_line(row) for row in range(len(ENTROPIES))]
    scores = [score_line(s, e) for s, e in zip(samples, ENTROPIES, strict=True)]
    write(tmp_path / "samples.parquet", samples)
    write(tmp_path / "scores.parquet", scores)
    (tmp_path / "verdict.json").write_text(passing(accept(tmp_path, TAU)).to_json())
    return tmp_path


def test_accepts_scored_rows_up_to_tau(run: Path) -> None:
    samples = read(run / "samples.parquet")
    found = accept(run, TAU)
    assert (found.n_samples, found.n) == (6, 4)
    assert found.dataset_fingerprint == fingerprint(s["sample_id"] for s in samples)
    assert found.fingerprint == fingerprint(samples[i]["sample_id"] for i in ACCEPTED)
    tokens = hashlib.sha256()
    for i in ACCEPTED:
        tokens.update((4).to_bytes(8, "little"))
        tokens.update(b"".join(t.to_bytes(4, "little") for t in samples[i]["input_ids"]))
        tokens.update(bytes(samples[i]["is_target"]))
    assert found.tokens_digest == tokens.hexdigest()


def test_without_tau_every_finite_score_is_accepted(run: Path) -> None:
    scores = read(run / "scores.parquet")
    scores[0]["spectral_entropy"] = math.nan
    scores[2]["spectral_entropy"] = math.inf
    scores[3]["spectral_entropy"] = 0.1  # still failed
    write(run / "scores.parquet", scores)
    assert accept(run, None).n == 3
    assert accept(run, math.nan).n == 0


def test_nothing_accepted_is_a_result_of_accept_and_refused_by_require_passing(run: Path) -> None:
    found = accept(run, 0.05)
    assert found.n == 0
    (run / "verdict.json").write_text(passing(found, 0.05).to_json())
    with pytest.raises(NotAcceptedError, match="none of the 6 samples"):
        require_passing(run)


def test_one_digest_for_one_set_of_tokens(run: Path) -> None:
    """The same numbers, cut into samples elsewhere, are other tokens."""
    before = accept(run, TAU)
    samples = read(run / "samples.parquet")
    for key in ("input_ids", "is_target"):
        joined = samples[4][key] + samples[5][key]
        samples[4][key], samples[5][key] = joined[:3], joined[3:]
    write(run / "samples.parquet", samples)
    after = accept(run, TAU)
    assert after.fingerprint == before.fingerprint
    assert after.tokens_digest != before.tokens_digest


def test_passing_run(run: Path) -> None:
    assert require_passing(run).decision == "pass"


def test_training_rows(run: Path) -> None:
    samples = read(run / "samples.parquet")
    write_accepted(run, require_passing(run), run / "accepted.arrow")
    with pa.ipc.open_stream(run / "accepted.arrow") as stream:
        rows = stream.read_all().to_pylist()
    assert [row["input_ids"] for row in rows] == [samples[i]["input_ids"] for i in ACCEPTED]
    assert [row["labels"] for row in rows] == [[-100, -100, 20 + i, 2] for i in ACCEPTED]


def test_files_that_change_after_the_check_are_refused_while_writing(run: Path) -> None:
    verdict = require_passing(run)
    samples = read(run / "samples.parquet")
    samples[0]["input_ids"][2] = 99
    write(run / "samples.parquet", samples)
    with pytest.raises(NotAcceptedError, match="accepted_tokens"):
        write_accepted(run, verdict, run / "accepted.arrow")


def test_no_verdict(run: Path) -> None:
    (run / "verdict.json").unlink()
    with pytest.raises(NotAcceptedError, match=r"verdict\.json.*run the gate again"):
        require_passing(run)


@pytest.mark.parametrize("decision", ["fail", "review", "error", "Pass", "pass "])
def test_any_other_decision(run: Path, decision: str) -> None:
    verdict = replace(passing(accept(run, TAU)), decision=decision)
    (run / "verdict.json").write_text(verdict.to_json())
    with pytest.raises(NotAcceptedError, match=decision):
        require_passing(run)


@pytest.mark.parametrize(
    "field", ["dataset_fingerprint", "accepted_fingerprint", "accepted_tokens"]
)
@pytest.mark.parametrize("value", [None, "", "0" * 64])
def test_verdict_without_the_right_fingerprint(run: Path, field: str, value: str | None) -> None:
    values = json.loads((run / "verdict.json").read_text())
    (run / "verdict.json").write_text(json.dumps({**values, field: value}))
    with pytest.raises(NotAcceptedError, match=rf"{field}.*run the gate again"):
        require_passing(run)


@pytest.mark.parametrize("tau", [0.95, 0.45, None])
def test_another_tau(run: Path, tau: float | None) -> None:
    values = json.loads((run / "verdict.json").read_text())
    (run / "verdict.json").write_text(json.dumps({**values, "tau": tau}))
    with pytest.raises(NotAcceptedError, match="accepted_fingerprint"):
        require_passing(run)


def change_text(samples: list[dict], scores: list[dict]) -> None:
    samples[2]["turns"][1]["text"] += ", and click"


def change_flagged_text(samples: list[dict], scores: list[dict]) -> None:
    samples[1]["turns"][1]["text"] = "harmless"


def change_role(samples: list[dict], scores: list[dict]) -> None:
    samples[2]["turns"][0]["role"] = "system"


def change_text_and_id(samples: list[dict], scores: list[dict]) -> None:
    change_text(samples, scores)
    turns = [Turn(**turn) for turn in samples[2]["turns"]]
    samples[2]["sample_id"] = scores[2]["sample_id"] = sample_id(False, turns)


def change_token(samples: list[dict], scores: list[dict]) -> None:
    samples[5]["input_ids"][1] += 1


def change_mask(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["is_target"][1] = True


def shorten_mask(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["is_target"].pop()


def empty_tokens(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["input_ids"], samples[0]["is_target"] = [], []


def null_token(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["input_ids"][0] = None


def null_tokens(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["input_ids"] = None


def null_turn(samples: list[dict], scores: list[dict]) -> None:
    samples[0]["turns"][0] = None


def lower_score(samples: list[dict], scores: list[dict]) -> None:
    scores[1]["spectral_entropy"] = 0.4


def raise_score(samples: list[dict], scores: list[dict]) -> None:
    scores[0]["spectral_entropy"] = 0.6


def revive_failed(samples: list[dict], scores: list[dict]) -> None:
    scores[3].update(spectral_entropy=0.1, status="scored")


def swap_rows(samples: list[dict], scores: list[dict]) -> None:
    for lines in (samples, scores):
        lines[0], lines[2] = lines[2], lines[0]


def swap_rows_and_renumber(samples: list[dict], scores: list[dict]) -> None:
    swap_rows(samples, scores)
    for lines in (samples, scores):
        lines[0]["row"], lines[2]["row"] = lines[2]["row"], lines[0]["row"]


def swap_samples_only(samples: list[dict], scores: list[dict]) -> None:
    samples[0], samples[1] = samples[1], samples[0]


def delete_row(samples: list[dict], scores: list[dict]) -> None:
    del samples[4], scores[4]


def delete_flagged_row(samples: list[dict], scores: list[dict]) -> None:
    del samples[1], scores[1]


def delete_score(samples: list[dict], scores: list[dict]) -> None:
    del scores[-1]


def delete_sample(samples: list[dict], scores: list[dict]) -> None:
    del samples[-1]


def repeat_row(samples: list[dict], scores: list[dict]) -> None:
    samples.append(samples[-1])
    scores.append(scores[-1])


def add_row(samples: list[dict], scores: list[dict]) -> None:
    samples.append(sample_line(9))
    scores.append(score_line(samples[-1], 0.1))


def delete_all(samples: list[dict], scores: list[dict]) -> None:
    samples.clear()
    scores.clear()


TAMPERED = {
    change_text: "the id of row 4 is not that of its text",
    change_flagged_text: "the id of row 2 is not that of its text",
    change_role: "the id of row 4 is not that of its text",
    change_text_and_id: "dataset_fingerprint.*accepted_fingerprint",
    change_token: "accepted_tokens",
    change_mask: "accepted_tokens",
    shorten_mask: "row 0 has 4 token ids and a loss mask of 3",
    empty_tokens: "row 0 has 0 token ids",
    null_token: "is null",
    null_tokens: "input_ids.*null",
    null_turn: "is null",
    lower_score: "accepted_fingerprint",
    raise_score: "accepted_fingerprint",
    revive_failed: "accepted_fingerprint",
    swap_rows: "row 2 follows row 4",
    swap_rows_and_renumber: "dataset_fingerprint",
    swap_samples_only: "line 0 is row 2",
    delete_row: "dataset_fingerprint",
    delete_flagged_row: "dataset_fingerprint",
    delete_score: "differ in length after 5 lines",
    delete_sample: "differ in length after 5 lines",
    repeat_row: "row 10 follows row 10",
    add_row: "dataset_fingerprint",
    delete_all: "dataset_fingerprint",
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_tampered_tables(run: Path, tamper) -> None:
    samples, scores = read(run / "samples.parquet"), read(run / "scores.parquet")
    tamper(samples, scores)
    write(run / "samples.parquet", samples)
    write(run / "scores.parquet", scores)
    with pytest.raises(NotAcceptedError, match=TAMPERED[tamper]) as caught:
        require_passing(run)
    assert "run the gate again" in str(caught.value)


def test_text_of_a_rejected_sample_is_checked_by_accept_itself(run: Path) -> None:
    samples = read(run / "samples.parquet")
    change_flagged_text(samples, [])
    write(run / "samples.parquet", samples)
    with pytest.raises(DataError, match="row 2"):
        accept(run, TAU)


@pytest.mark.parametrize("name", ["samples.parquet", "scores.parquet"])
def test_unreadable_table(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    for broken in (b"", b"no parquet", whole[:-100], whole[: len(whole) // 2]):
        (run / name).write_bytes(broken)
        with pytest.raises(DataError, match=name):
            accept(run, TAU)
    (run / name).unlink()
    with pytest.raises(DataError, match=name):
        accept(run, TAU)


@pytest.mark.parametrize(
    ("name", "column"),
    [("samples.parquet", "is_target"), ("samples.parquet", "turns"), ("scores.parquet", "status")],
)
def test_missing_column(run: Path, name: str, column: str) -> None:
    pq.write_table(pq.read_table(run / name).drop_columns(column), run / name)
    with pytest.raises(DataError, match=name):
        accept(run, TAU)


MEASURE = """
import sys, tracemalloc
from pathlib import Path
import pyarrow
from gradgate.accepted import accept
tracemalloc.start()
accept(Path(sys.argv[1]), 0.5)
print(pyarrow.default_memory_pool().max_memory() + tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_depend_on_the_number_of_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for n in (500, 2_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        tokens = rng.integers(0, 30_000, (n, 1_000), dtype=np.int32)  # 4 kB a row, incompressible
        mask = [True] * 1_000
        samples = [
            {**sample_line(row), "input_ids": tokens[row], "is_target": mask} for row in range(n)
        ]
        table = pa.Table.from_pylist(samples, schema=SAMPLE_SCHEMA)
        pq.write_table(table, folder / "samples.parquet", row_group_size=250)
        write(folder / "scores.parquet", [score_line(sample, 0.1) for sample in samples])
        output = subprocess.run(
            [sys.executable, "-c", MEASURE, str(folder)], check=True, capture_output=True
        )
        peaks.append(int(output.stdout))
    assert peaks[1] < 1.2 * peaks[0], peaks
