"""Peak memory of fetching and scoring against the number of rows.

Usage: `python -m benchmarks.memory [ROWS...]`

Each size runs in a process of its own on rows that the script makes, with the demo's model; the
first one, of a few rows, is the reference that the others are held against.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo import MODEL

SIZES = [100, 3_000, 30_000]
CHILD = """
import sys
from pathlib import Path
from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.models import load_model
from gradgate.prepare import prepare
from gradgate.scoring import score_dataset
folder = Path(sys.argv[1])
loaded = load_model(ModelConfig(path=sys.argv[2], device="cpu"))
prepared = prepare(DataConfig(source=str(folder / "rows.jsonl")), loaded.tokenizer, 512, folder)
score_dataset(prepared, loaded, ScoringConfig(), folder / "scores.parquet")
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_mib(n_rows: int) -> float:
    """Peak resident memory of a process that fetches and scores `n_rows` distinct rows, in MiB."""
    with tempfile.TemporaryDirectory() as name:
        with (Path(name) / "rows.jsonl").open("w") as file:
            for i in range(n_rows):
                row = {"prompt": f"What is number {i}? ", "completion": f"It is {i}." * (1 + i % 4)}
                file.write(json.dumps(row) + "\n")
        done = subprocess.run(
            [sys.executable, "-c", CHILD, name, str(MODEL)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Print one line for each size."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    table = Table("rows", "peak memory, MiB", "against the first")
    reference = peak_mib(sizes[0])
    for size in sizes:
        peak = peak_mib(size)
        table.add_row(f"{size:,}", f"{peak:.0f}", f"{peak / reference:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
