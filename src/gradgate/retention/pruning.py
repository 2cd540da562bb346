"""Removing what nobody needs any more: renamed first, so that a name is never half of a run."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gradgate.common.disk import size_of
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.accounts import FILES
from gradgate.retention.found import REMOVED, find, half_removed
from gradgate.retention.holds import Entry
from gradgate.retention.references import references, run_in


@dataclass(frozen=True)
class Rules:
    """What is to be removed.

    Attributes:
        older_than: What was written to since stays.
        keep_last: Runs of each gate that stay, whatever their age; those that broke do not count.
        tables_only: Of gate runs, take the tables and leave the evidence.
    """

    older_than: timedelta
    keep_last: int = 0
    tables_only: bool = False


@dataclass(frozen=True)
class Removal:
    """What goes of an entry.

    Attributes:
        paths: The folder itself, or files and folders in it.
    """

    entry: Entry
    paths: list[Path]
    n_bytes: int


def entries(state: Path, revoked: frozenset[str]) -> list[Entry]:
    """Everything in the state folder that may be listed, the newest first."""
    around = references(state)
    return [Entry(found, around, revoked) for found in find(state)]


def old(found: Sequence[Entry], rules: Rules) -> list[Entry]:
    """Those that the rules let go, whatever holds them.

    A gate run whose configuration cannot be read is of no known gate, and so the last of its own.
    """
    before = datetime.now(UTC) - rules.older_than
    seen: Counter[tuple[str, ...]] = Counter()
    chosen = []
    for entry in found:
        if entry.facts is not None and entry.facts.decision != "error" and not entry.is_of_drill:
            series = entry.facts.series or (entry.found.name,)
            seen[series] += 1
            if seen[series] <= rules.keep_last:
                continue
        if entry.found.written < before:
            chosen.append(entry)
    return chosen


def removal_of(entry: Entry, rules: Rules) -> Removal | None:
    """What may go of an entry; None when nothing may."""
    if rules.tables_only and entry.facts is not None:
        return _tables_of(entry)
    if entry.holds or rules.tables_only:
        return None
    return Removal(entry, [entry.found.path], entry.found.n_bytes)


def remove(state: Path, removal: Removal) -> None:
    """Remove it; killed in between, the next prune goes on.

    Raises:
        OSError: Something cannot be removed.
    """
    for path in removal.paths:
        if path == removal.entry.found.path:
            _forget(state, path.name)
        _delete(path)


def clean_up(state: Path) -> int:
    """Go on with what a killed prune had begun; returns the bytes."""
    left = half_removed(state)
    n_bytes = sum(map(size_of, left))
    for path in left:
        _unlink(path)
    return n_bytes


def _delete(path: Path) -> None:
    """Take away the name at once, and then the content."""
    aside = path.with_name(f"{path.name}{REMOVED}")
    try:
        path.rename(aside)
    except FileNotFoundError:  # another prune was faster
        return
    _unlink(aside)


def _unlink(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tables_of(entry: Entry) -> Removal | None:
    """The tables and rows of a gate run that nothing needs."""
    keeps = set[str]()
    for hold in entry.holds:
        if hold.keeps is None:
            return None
        keeps |= hold.keeps
    folder = entry.found.path
    paths = [
        path for path in _tables(entry.run) if path.relative_to(folder).as_posix() not in keeps
    ]
    return Removal(entry, paths, sum(map(size_of, paths))) if paths else None


def _tables(run: RunFolder) -> Iterator[Path]:
    tables = [run.samples, run.source_rows, run.rejected, run.scores, run.flags, run.flagged]
    tables += [run.quarantined, run.changes, run.data_docs]
    yield from filter(Path.exists, (*tables, *(run.rows / name for name in sorted(FILES))))


def _forget(state: Path, name: str) -> None:
    """Remove the pointers to a run that goes."""
    for pointer in (state / "series").glob("*.json"):
        try:
            if run_in(pointer) == name:
                pointer.unlink(missing_ok=True)
        except DataError:
            continue
