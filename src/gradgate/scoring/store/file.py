"""The file of the score store: SQLite, opened by many, salvaged and replaced when it is damaged.

WAL mode needs shared memory, so the file must not lie on a network file system. Every commit is
forced to the disk, so that a loss of power too costs at most the batch that was being put.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

from filelock import FileLock

from gradgate.common.files import aside, put_in_place
from gradgate.common.state import score_store
from gradgate.errors import StoreError
from gradgate.scoring.store.failures import (
    LOCK_SECONDS,
    UNREADABLE,
    NotAStoreError,
    errors,
    is_damage,
    not_a_store,
)
from gradgate.scoring.store.row import ScoreContext
from gradgate.scoring.store.salvage import prepare_to_salvage, salvage
from gradgate.scoring.store.schema import CACHE_KIB, connect, create, is_foreign, plain_connection
from gradgate.scoring.store.version2 import migrate

T = TypeVar("T")

_PAGE_BYTES = 4096
_BESIDE = ("-wal", "-shm", "-journal")  # SQLite's other files of a database
_SET_ASIDE = re.compile(r"\.damaged-\d{8}T\d{12}(-wal|-journal)?")

_log = logging.getLogger(__name__)


class StoreFile:
    """The open file, without a context; made when it is not there.

    Attributes:
        set_aside: Where the damaged file lies that this instance has replaced.
        n_lost: Damaged rows of version 2 that were removed when the file was opened, and that
            `upkeep.verify` has not counted yet.
    """

    def __init__(self, path: Path, context: ScoreContext | None = None) -> None:
        """Open or make `path`; rows of `context` can be salvaged when no line describes it.

        Raises:
            StoreError: Not a score store, one of a newer version, or it cannot be written.
        """
        self.path = Path(os.path.realpath(path))  # a link shares the lock of its file
        self._part = aside(self.path)
        self.set_aside: Path | None = None
        self.n_lost = 0
        self._context = context
        self._connection, self._identity = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns; it is called again when the file turns out damaged or replaced.

        Raises:
            StoreError: The file cannot be read or written.
        """
        for _ in range(5):
            try:
                if self._is_moved():
                    self._reopen()
                result = work(self._connection)
            except UNREADABLE as error:
                if not is_damage(error):
                    with errors(self.path):
                        raise
                self._reopen()
                continue
            # Another process may have replaced the file between the look and the commit.
            if not self._is_moved():
                return result
        raise StoreError(f"{self.path} is damaged again and again; is the disk in order?")

    def _is_moved(self) -> bool:
        return _identity(self.path) != self._identity

    def _reopen(self) -> None:
        """Follow the file that another process has put here, or replace the damaged one."""
        # SQLite leaves -wal and -shm alone when the file it has open is no longer at its path.
        self._connection.close()
        self._connection, self._identity = self._open(damaged=self._identity)

    def _open(
        self, damaged: tuple[int, int] | None = None
    ) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        with errors(self.path), self._lock():
            self._finish_replacing()
            if damaged is not None and _identity(self.path) == damaged:
                self._replace()
            try:
                connection = self._connect()
            except UNREADABLE as error:
                if not is_damage(error, opening=True):
                    raise
                self._replace()
                connection = self._connect()
            except NotAStoreError:
                self._begin_anew()
                connection = self._connect()
            return connection, _identity(self.path)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path)
        try:
            self.n_lost += migrate(connection, self.path, self._context)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self) -> FileLock:
        """Held to open and to replace: nobody may open the file while it is replaced."""
        return FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS)

    def _replace(self) -> None:
        """Put a fresh file here, with every row of the damaged one that is whole."""
        if is_foreign(self.path):
            self._begin_anew()
            return
        damaged_file = self._new_aside()
        with closing(plain_connection(self.path)) as damaged:
            prepare_to_salvage(damaged)
            n_rows = self._make_part(damaged)
            self.path.rename(damaged_file)
            self._put_part_in_place(damaged_file)
        self.set_aside = damaged_file
        _log.warning(
            "the score store %s was damaged; %d rows were saved, what is lost is scored again; "
            "the damaged file is %s, which nothing needs",
            self.path, n_rows, aside,
        )  # fmt: skip

    def _begin_anew(self) -> None:
        """Move aside what has lost its first page, if it lies where only a store can lie.

        Every run would be refused until somebody moved it by hand.

        Raises:
            NotAStoreError: It lies elsewhere, and may be somebody else's.
        """
        if self.path != Path(os.path.realpath(score_store())):
            raise not_a_store(self.path)
        damaged_file = self._new_aside()
        for end in ("", "-wal", "-journal"):
            if _beside(self.path, end).exists():
                _beside(self.path, end).rename(_beside(damaged_file, end))
        _beside(self.path, "-shm").unlink(missing_ok=True)
        self.set_aside = damaged_file
        _log.warning(
            "%s could not be read as a score store; it is now %s, and a new one is begun",
            self.path, damaged_file,
        )  # fmt: skip

    def _make_part(self, damaged: sqlite3.Connection) -> int:
        """Write the fresh file; it gets its name when it is whole and on the disk."""
        building = aside(self.path, ".building")
        leftovers = (building, *(_beside(building, end) for end in _BESIDE))
        try:
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
            # Not in WAL mode, whose write-back at the end ignores a full disk.
            with closing(plain_connection(building)) as fresh:
                fresh.execute("PRAGMA synchronous = FULL")
                fresh.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                create(fresh)
                n_pages = 1 + self.path.stat().st_size // _PAGE_BYTES
                n_rows = salvage(damaged, fresh, self._context, n_pages)
            if any(leftover.exists() for leftover in leftovers[1:]):
                raise StoreError(f"{building} could not be written to its end")
            put_in_place(building, self._part)
        except BaseException:
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
            raise
        return n_rows

    def _put_part_in_place(self, damaged_file: Path) -> None:
        """Nothing that belongs to the damaged file may be there when the fresh one is."""
        for end in ("-wal", "-journal"):
            if _beside(self.path, end).exists():
                _beside(self.path, end).rename(_beside(damaged_file, end))
        _beside(self.path, "-shm").unlink(missing_ok=True)
        put_in_place(self._part, self.path)

    def _finish_replacing(self) -> None:
        """What a process that was killed while it replaced the file has left to do."""
        if not self._part.exists():
            return
        if self.path.exists():
            self._part.unlink()  # it is made again
            return
        self._put_part_in_place(self._new_aside())
        _log.warning(
            "the score store %s was damaged, and replacing it was interrupted; this is done now",
            self.path,
        )

    def _new_aside(self) -> Path:
        return _beside(self.path, f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")


def files_set_aside(path: Path) -> list[Path]:
    """The damaged files that were replaced by `path`, and what belongs to them."""
    start = len(path.name)
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.startswith(path.name) and _SET_ASIDE.fullmatch(file.name[start:])
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
