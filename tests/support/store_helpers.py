"""What the tests of the score store share; the writers run as processes of their own."""

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from gradgate.gradients.score import Score
from gradgate.scoring.store.scores import ScoreContext, ScoreStore

SUPPORT = Path(__file__).parent
# Of child processes: they import these helpers, and gradgate from where the tests do.
_PATHS = (str(SUPPORT), os.environ.get("PYTHONPATH"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _PATHS))}

CONTEXT = ScoreContext(
    model_sha256="a" * 64,
    model_revision=None,
    adapter_sha256=None,
    k=16,
    dtype="float32",
    model_path="path/to/model",
    adapter=None,
)
RIGHT = Score(0.5, 0.6, 0.7, 3, 1.25, 2.5, bytes(range(256)) * 2, bytes(range(10)), "scored", None)


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@cache
def score_of(digest: bytes) -> Score:
    """The right score of a key, so that a wrong one is noticed whoever wrote it."""
    chance = random.Random(digest)
    n, norm = chance.randrange(8), chance.expovariate(1)
    if chance.random() < 0.05:
        why = f"reason {digest.hex()[:6]} é"
        return Score(None, None, None, n, None, norm, None, None, "failed", why)
    crop = None if chance.random() < 0.05 else chance.random()
    values = (crop, chance.random(), chance.random(), n, chance.expovariate(1), norm)
    logp = chance.randbytes(2 * (n + 1 + chance.randrange(9)))
    return Score(*values, chance.randbytes(512), logp, "scored", None)


def scores(numbers: range) -> dict[bytes, Score]:
    return {key(number): score_of(key(number)) for number in numbers}


def probed(score: Score) -> Score:
    """The same score, held against a probing set."""
    safety = bytes(range(32)) if score.status == "scored" else None
    return replace(score, safety=safety)


def filled(path: Path, n: int, context: ScoreContext = CONTEXT) -> dict[bytes, Score]:
    """Make a store with `n` rows, and close it."""
    content = scores(range(n))
    if context.is_probed:
        content = {k: probed(score) for k, score in content.items()}
    with ScoreStore(path, context) as store:
        store.put(content)
    return content


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def in_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def clear(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def damaged(path: Path, original: Path, change: Callable[[bytearray], object]) -> None:
    """Write a store that is `original` but for a change of its bytes."""
    clear(path)
    content = bytearray(original.read_bytes())
    change(content)
    path.write_bytes(content)


N_WRITTEN = 8_300  # keys of which `write_for_ever` writes


def write_for_ever(path: Path, seed: int) -> None:
    """Put batch after batch of keys; say after each commit what is stored."""
    chance = random.Random(seed)
    with ScoreStore(path, CONTEXT) as store:
        while True:
            n = chance.choice([1, 5, 40, 300])
            start = chance.randrange(N_WRITTEN - n)
            store.put(scores(range(start, start + n)))
            os.write(1, f"stored {start} {start + n}\n".encode())


def serve(path: str) -> None:
    """For each line `seed` fork a writer and print its pid; it is killed by who reads that."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            write_for_ever(Path(path), int(line))
        os.write(1, f"pid {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"dead\n")
