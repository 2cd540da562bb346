"""Score stores as gradgate wrote them before each signal had a version of its own."""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import store_helpers
from store_helpers import CONTEXT

from gradgate.gradients.score import Score
from gradgate.gradients.signals import SIGNALS
from gradgate.scoring.store import record
from gradgate.scoring.store.scores import ScoreContext

MATHS = 2
RIGHT = replace(store_helpers.RIGHT, token_logp=None)


@contextmanager
def signals_of_version2() -> Iterator[None]:
    """A gradgate that knows no signal which version 2 did not know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "SIGNALS", SIGNALS[:6])
        patch.setattr(record, "Score", partial(Score, token_logp=None))
        yield


def scores(numbers: range) -> dict[bytes, Score]:
    """Those of `store_helpers`, as far as version 2 knew them."""
    whole = store_helpers.scores(numbers)
    return {key: replace(score, token_logp=None) for key, score in whole.items()}


def old_digest(context: ScoreContext) -> bytes:
    deciding = [
        context.model_sha256, context.model_revision, context.adapter_sha256,
        context.k, context.dtype, MATHS,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(deciding).encode("ascii")).digest()


def old_id(context: ScoreContext) -> int:
    return int.from_bytes(old_digest(context)[:8], "big") >> 1


def old_record(context: ScoreContext, key: bytes, score: Score) -> bytes:
    entropies = (score.entropy_crop, score.entropy_full, score.evenness)
    values = (*entropies, score.loss, score.gradient_norm)
    parts = (*values, score.sketch, score.reason)
    there = sum((part is not None) << bit for bit, part in enumerate(parts))
    numbers = [0.0 if value is None else value for value in values]
    status = ("scored", "failed").index(score.status)
    body = struct.pack("<BBqddddd", status, there, score.n_target_tokens, *numbers)
    body += (score.sketch or b"") + (score.reason or "").encode("utf-8", "surrogatepass")
    return body + hashlib.blake2b(key + body, key=old_digest(context), digest_size=16).digest()


def old_connection(path: Path) -> sqlite3.Connection:
    """As a process of that version opens the file; it makes one that is not there."""
    connection = sqlite3.connect(path, isolation_level=None)
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.execute("CREATE TABLE contexts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL)")
        connection.execute(
            "CREATE TABLE scores (context INTEGER NOT NULL, key BLOB NOT NULL, "
            "used INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (context, key)) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA application_id = {0x67726764}")
        connection.execute("PRAGMA user_version = 2")
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def put_old(
    connection: sqlite3.Connection,
    content: Mapping[bytes, Score],
    context: ScoreContext = CONTEXT,
    day: int = 20_000,
) -> None:
    fields = json.dumps({**asdict(context), "maths": MATHS})
    number = old_id(context)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT OR REPLACE INTO contexts VALUES (?, ?)", (number, fields))
    connection.executemany(
        "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)",
        [(number, key, day, old_record(context, key, one)) for key, one in sorted(content.items())],
    )
    connection.execute("COMMIT")


def old_store(path: Path, content: Mapping[bytes, Score], context: ScoreContext = CONTEXT) -> None:
    """Put rows into a file of version 2, and close it."""
    connection = old_connection(path)
    put_old(connection, content, context)
    connection.close()
