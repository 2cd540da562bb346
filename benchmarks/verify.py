"""Rows a second and peak memory of `gradgate.verify`, by the number of rows and the kind of file.

Usage: `python -m benchmarks.verify [--quick]`

Each line is a process of its own. `file` is the very file of the gate; `rows` are the same rows in
another file, which are read, made samples and put into the tree one by one.
"""

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import gradgate
from benchmarks.harness import machine, parser, show
from gradgate.attest.envelope import seal
from gradgate.attest.merkle import MerkleTree
from gradgate.attest.statement import Accepted, Dataset, Predicate, Rows, Run, statement_of
from gradgate.common.files import file_sha256
from gradgate.config import DataConfig
from gradgate.data.sample import Turn, sample_id
from gradgate.signing.keys import make_key, signer_from_file

SIZES, QUICK = (10_000, 100_000, 1_000_000), (1_000,)
ROUNDS = 3
CHUNK = 10_000
HEADINGS = ["rows", "data", "compared", "MB", "rows/s", "CPU, rows/s", "peak, MiB"]
NOTHING = "0" * 64


def pairs(n: int) -> Iterator[dict[str, str]]:
    """Prompts and completions of some 150 characters together."""
    for i in range(n):
        ask = f"What is the default value of `size` in pkg.f{i}? Say it in a sentence of your own."
        yield {"prompt": ask, "completion": f"The default of size in pkg.f{i} is {7 * i % 1013}."}


def write(folder: Path, n: int) -> dict[str, Path]:
    """The rows as lines, in another order of keys, and as a table; and their attestation."""
    tree = MerkleTree()
    names = ("rows.jsonl", "others.jsonl", "others.parquet")
    own, others, table = (folder / name for name in names)
    schema = pa.schema([("prompt", pa.string()), ("completion", pa.string())])
    with own.open("w") as first, others.open("w") as second, pq.ParquetWriter(table, schema) as pqs:
        chunk: list[dict[str, str]] = []
        for row in pairs(n):
            turns = [Turn("prompt", row["prompt"], False)]
            turns.append(Turn("completion", row["completion"], True))
            tree.add(bytes.fromhex(sample_id(False, turns)))
            first.write(json.dumps(row) + "\n")
            second.write(json.dumps(dict(reversed(row.items()))) + "\n")
            chunk.append(row)
            if len(chunk) == CHUNK:
                pqs.write_table(pa.Table.from_pylist(chunk, schema))
                chunk = []
        if chunk:
            pqs.write_table(pa.Table.from_pylist(chunk, schema))
    _attest(folder, Rows(n=tree.n, root=tree.root), file_sha256(own))
    return {"file": own, "rows": others, "rows of Parquet": table}


def _attest(folder: Path, rows: Rows, digest: str) -> None:
    accepted = Accepted(
        n=rows.n,
        root=rows.root,
        fingerprint=NOTHING,
        tokens=NOTHING,
        columns=["completion", "prompt"],
        file_sha256=digest,
    )
    dataset = Dataset(
        source="rows.jsonl",
        fingerprint=NOTHING,
        row_format="prompt_completion",
        columns={"prompt": "prompt", "completion": "completion"},
        template_names=[],
        n_rows=rows.n,
        samples=rows,
        rejected=Rows(n=0, root=hashlib.sha256().hexdigest()),
    )
    make_key(folder / "key")
    signer = signer_from_file(folder / "key", "the benchmark")
    said = {
        "decision": "pass",
        "reasons": ["made up"],
        "issued": "2026-01-01T00:00:00Z",
        "expires": None,
        "key": signer.public_key.keyid,
        "accepted": accepted.model_dump(),
        "dataset": dataset.model_dump(),
        "model": {},
        "model_digest_of": "files",
        "template_date": None,
        "answers": [],
        "reference": None,
        "probes": None,
        "expected": [],
        "settings": {"data": DataConfig(source="rows.jsonl").model_dump()},
        "settings_sha256": NOTHING,
        "verdict_sha256": NOTHING,
        "approvals": [],
        "run": Run(folder=None, mlflow=None, prefect=None).model_dump(),
        "version": gradgate.__version__,
    }
    predicate = Predicate.model_validate_json(json.dumps(said))
    (folder / "attestation.json").write_bytes(seal(statement_of(predicate), signer))


def child(folder: Path, data: Path) -> None:
    """Verify, and print what was compared, both times in seconds and the peak in MiB."""
    started, busy = time.perf_counter(), time.process_time()
    found = gradgate.verify(folder / "attestation.json", data, key=folder / "key.pub")
    seconds, of_cpu = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([found.covered, seconds, of_cpu, peak]))


def measured(folder: Path, data: Path) -> tuple[str, float, float, float]:
    """The fastest of some rounds, each in a process of its own, with the libraries imported."""
    code = (
        "import sys; from pathlib import Path; import gradgate; gradgate.verify\n"
        "from benchmarks.verify import child; child(*map(Path, sys.argv[1:]))"
    )
    rounds = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(data)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    covered, seconds, of_cpu, peak = zip(*rounds, strict=True)
    return covered[0], min(seconds), min(of_cpu), max(peak)


def main() -> None:
    """Print a table."""
    arguments = parser(__doc__ or "").parse_args()
    lines = []
    for n in QUICK if arguments.quick else SIZES:
        with tempfile.TemporaryDirectory() as name:
            for data, path in write(Path(name), n).items():
                covered, seconds, of_cpu, peak = measured(Path(name), path)
                size = f"{path.stat().st_size / 1e6:.0f}"
                speeds = (f"{n / seconds:,.0f}", f"{n / of_cpu:,.0f}")
                lines.append([f"{n:,}", data, covered, size, *speeds, f"{peak:.0f}"])
    print(machine(torch.device("cpu")))
    show("Verification", HEADINGS, lines)


if __name__ == "__main__":
    main()
