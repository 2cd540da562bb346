"""Segments go into the score store of a machine, and its scores out into segments."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradgate.common.files import aside, written_whole
from gradgate.errors import ConfigError, StoreError
from gradgate.gradients.score import Score
from gradgate.scoring.shards.folder import PLAN, SEGMENTS, ShardFolder
from gradgate.scoring.shards.segment import (
    About,
    Line,
    read_about,
    read_segment,
    score_of,
    write_segment,
)
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.row import ScoreContext, decode
from gradgate.scoring.store.schema import contexts
from gradgate.scoring.store.scores import ScoreStore

_GROUP = 2_048  # samples that are read or written together


@dataclass(frozen=True)
class Imported:
    """What of a segment went into the store.

    Attributes:
        n_samples: Went in.
        n_outdated: Did not: they lack a signal that this version computes.
    """

    context: ScoreContext
    n_samples: int
    n_outdated: int


def segments_in(folder: ShardFolder) -> list[str]:
    """The segments of a folder: of one of shards, or of one that was exported.

    Raises:
        ConfigError: There are none.
    """
    below = f"{SEGMENTS}/" if folder.has(PLAN) else ""
    names = [
        f"{below}{name}" for name in folder.names(below.rstrip("/")) if name.endswith(".parquet")
    ]
    if not names:
        raise ConfigError(f"{folder.address} holds no segments")
    return names


def import_segment(folder: ShardFolder, name: str, store_path: Path) -> Imported:
    """Put the scores of a segment into a store, when all of it was read and found whole.

    What the store knows of a sample stays.

    Raises:
        StoreError: The segment is damaged, or the store cannot be used.
    """
    context = read_about(folder, name).score_context
    for _ in read_segment(folder, name):  # nothing of a damaged one goes in
        pass
    n_samples = n_outdated = 0
    with ScoreStore(store_path, context) as store:
        for lines in read_segment(folder, name):
            scores = dict(_scores(lines, context))
            store.put(scores)
            n_samples, n_outdated = n_samples + len(scores), n_outdated + len(lines) - len(scores)
    return Imported(context, n_samples, n_outdated)


def _scores(lines: list[Line], context: ScoreContext) -> Iterator[tuple[bytes, Score]]:
    for key, record in lines:
        score = score_of(context, key, record)
        if score is not None:
            yield key, score


def export(store_path: Path, folder: Path, model_path: str | None) -> list[tuple[Path, int]]:
    """Write a segment for each model and setting of a store; the files, and their samples.

    Args:
        store_path: The store.
        folder: Made when missing; files of an earlier export are replaced.
        model_path: Only what this model has scored; None for all.

    Raises:
        ConfigError: The store has nothing of that model.
        StoreError: A row of the store is damaged, or it cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with StoreFile(store_path) as store:
        known = store.run(contexts)
        for number, context in sorted(known.items()):
            if model_path not in (None, context.model_path):
                continue
            path = folder / f"{context.model_sha256[:12]}-{number:016x}.parquet"
            with written_whole(path, aside(path)) as part:
                groups = _groups(store, context)
                written.append((path, write_segment(part, About.of(context), groups)))
    if not written:
        whose = "" if model_path is None else f" of {model_path}; gradgate cache show lists models"
        raise ConfigError(f"the score store {store_path} has nothing{whose}")
    return written


def _groups(store: StoreFile, context: ScoreContext) -> Iterator[list[Line]]:
    """The rows of a context by their keys, some at a time."""
    last = b""

    def work(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
        return connection.execute(
            "SELECT key, record FROM scores WHERE context = ? AND key > ? ORDER BY key LIMIT ?",
            (context.id, last, _GROUP),
        ).fetchall()

    while rows := store.run(work):
        last = rows[-1][0]
        if any(decode(context, key, record) is None for key, record in rows):
            raise StoreError(
                f"{store.path} has damaged rows; `gradgate cache verify` removes them; then again"
            )
        yield rows
