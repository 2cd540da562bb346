"""Which rows a verdict covers."""

import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accepted_helpers import Line, flag_line, passing, read, sample_line, write, write_run

from gradgate.common.run_folder import SAMPLE_SCHEMA
from gradgate.config import InDoubt
from gradgate.data.sample import fingerprint
from gradgate.gate.acceptance import (
    NotAcceptedError,
    accept,
    accepted,
    require_passing,
    write_accepted,
)
from gradgate.gate.verdict import Verdict

ACCEPTED = [0, 2, 4, 5]


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    return write_run(tmp_path)


@pytest.fixture
def run(tmp_path: Path, verdict: Verdict) -> Path:
    return tmp_path


def test_accepts_scored_rows_that_are_not_flagged(run: Path) -> None:
    samples = read(run / "samples.parquet")
    found = accept(run)
    assert (found.n_samples, found.n) == (6, 4)
    assert found.dataset_fingerprint == fingerprint(s["sample_id"] for s in samples)
    assert found.fingerprint == fingerprint(samples[i]["sample_id"] for i in ACCEPTED)
    tokens = hashlib.sha256()
    for i in ACCEPTED:
        tokens.update((4).to_bytes(8, "little"))
        tokens.update(b"".join(t.to_bytes(4, "little") for t in samples[i]["input_ids"]))
        tokens.update(bytes(samples[i]["is_target"]))
    assert found.tokens_digest == tokens.hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"flagged": True},
        {"flagged": None},  # unknown is not false
        {"in_doubt": True},
        {"in_doubt": None},
        {"surplus_copy": True},
        {"surplus_copy": None},
        {"spectral_entropy": None},
        {"spectral_entropy": math.nan},
        {"spectral_entropy": math.inf},
        {"status": "failed"},
    ],
    ids=str,
)
def test_what_is_not_known_to_be_clean_is_not_accepted(run: Path, change: Line) -> None:
    flags = read(run / "flags.parquet")
    flags[0].update(change)
    write(run / "flags.parquet", flags)
    found = accept(run)
    ids = [sample["sample_id"] for sample in read(run / "samples.parquet")]
    assert (found.n_samples, found.n) == (6, 3)
    assert found.fingerprint == fingerprint(ids[i] for i in ACCEPTED[1:])


@pytest.mark.parametrize("flag", [True, None])
def test_nothing_accepted_is_a_result_of_accept_and_refused_by_require_passing(
    run: Path, flag: bool | None
) -> None:
    write(
        run / "flags.parquet", [{**line, "flagged": flag} for line in read(run / "flags.parquet")]
    )
    found = accept(run)
    assert found.n == 0
    with pytest.raises(NotAcceptedError, match="none of the 6 samples"):
        require_passing(run, passing(found))


@pytest.mark.parametrize(
    ("in_doubt", "expected"),
    [("keep", [0, 2, 4]), ("quarantine", [0, 4]), ("block", [0, 4])],
)
def test_the_policy_keeps_rows_in_doubt_and_never_surplus_copies(
    run: Path, in_doubt: InDoubt, expected: list[int]
) -> None:
    """Row 2 is in doubt, row 5 a surplus copy and in doubt for that."""
    samples, flags = read(run / "samples.parquet"), read(run / "flags.parquet")
    flags[2]["in_doubt"] = True
    flags[5].update(in_doubt=True, surplus_copy=True)
    write(run / "flags.parquet", flags)
    found = accept(run, in_doubt)
    assert (found.n, found.n_flagged, found.n_in_doubt, found.n_surplus) == (len(expected), 1, 2, 1)
    assert found.fingerprint == fingerprint(samples[i]["sample_id"] for i in expected)
    marked = accepted(pq.read_table(run / "flags.parquet"), in_doubt)
    assert np.flatnonzero(marked).tolist() == expected
    verdict = replace(passing(found), in_doubt=in_doubt)
    require_passing(run, verdict)
    assert write_accepted(run, verdict, run / "rows.arrow") == found
    if in_doubt == "keep":  # the same tables by another policy are other rows
        with pytest.raises(NotAcceptedError, match="accepted_fingerprint"):
            require_passing(run, replace(verdict, in_doubt="quarantine"))


def test_a_table_of_flags_that_knows_no_copies_is_refused(run: Path, verdict: Verdict) -> None:
    flags = pq.read_table(run / "flags.parquet").drop_columns("surplus_copy")
    pq.write_table(flags, run / "flags.parquet")
    with pytest.raises(NotAcceptedError, match="run the gate again"):
        require_passing(run, verdict)


def test_one_digest_for_one_set_of_tokens(run: Path) -> None:
    """The same numbers, cut into samples elsewhere, are other tokens."""
    before = accept(run)
    samples = read(run / "samples.parquet")
    for key in ("input_ids", "is_target"):
        joined = samples[4][key] + samples[5][key]
        samples[4][key], samples[5][key] = joined[:3], joined[3:]
    write(run / "samples.parquet", samples)
    after = accept(run)
    assert after.fingerprint == before.fingerprint
    assert after.tokens_digest != before.tokens_digest


def test_training_rows(run: Path, verdict: Verdict) -> None:
    samples = read(run / "samples.parquet")
    require_passing(run, verdict)
    write_accepted(run, verdict, run / "accepted.arrow")
    with pa.ipc.open_stream(run / "accepted.arrow") as stream:
        rows = stream.read_all().to_pylist()
    assert [row["input_ids"] for row in rows] == [samples[i]["input_ids"] for i in ACCEPTED]
    assert [row["labels"] for row in rows] == [[-100, -100, 20 + i, 2] for i in ACCEPTED]


MEASURE = """
import sys, tracemalloc
from pathlib import Path
import pyarrow
from gradgate.gate.acceptance import accept
tracemalloc.start()
for folder in sys.argv[1:]:  # the peak of the first counts for the second too
    accept(Path(folder))
    print(pyarrow.default_memory_pool().max_memory() + tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_depend_on_the_number_of_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folders = []
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
        write(folder / "flags.parquet", [flag_line(sample, 0.1, False) for sample in samples])
        folders.append(str(folder))
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, *folders], check=True, capture_output=True
    ).stdout
    peaks = [int(line) for line in output.split()]
    assert len(peaks) == 2
    assert peaks[1] < 1.2 * peaks[0], peaks
