"""`gradgate cache`: what the score store holds, whether it is whole, and how it gets smaller."""

import math
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from gradgate.cli.lines import give_table, one_line, tell
from gradgate.common.state import score_store
from gradgate.errors import ConfigError, StoreError
from gradgate.scoring.store.file import StoreFile, files_set_aside
from gradgate.scoring.store.row import ScoreContext
from gradgate.scoring.store.upkeep import ContextRows, PruneRules, compact, prune, summarise, verify

app = App(help="The store of scores that were computed before.")

_MIB = 2**20

Store = Annotated[
    Path | None, Parameter(help="Score store; scores.db in the state folder when absent.")
]


def _not_negative(_: type, value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ValueError("it must not be negative")


@app.command
def show(*, store: Store = None) -> int:
    """Print what is stored, by model and setting."""
    path = _path(store)
    if not path.exists():
        tell(_no_store(path))
        return 0
    with StoreFile(path) as opened:
        found = summarise(opened)
    if found:
        give_table(_table(found))
    n_rows = sum(line.rows for line in found)
    tell(f"{n_rows} rows, {_mib(opened.path):.1f} MiB: {path}")
    for file in files_set_aside(opened.path):
        size = file.stat().st_size / _MIB
        tell(f"{size:.1f} MiB: {file}, a damaged one that may be deleted")
    return 0


@app.command(name="verify")
def _verify(*, store: Store = None) -> int:
    """Check every row; exit code 1 when damaged ones were found and removed."""
    path = _path(store)
    if not _is_there(path, store):
        return 0
    with StoreFile(path) as opened:
        found = verify(opened)
    tell(f"{found.whole} rows are whole, {found.removed} damaged ones were removed")
    if found.undescribed:
        tell(
            f"{found.undescribed} rows of models whose description is lost; "
            "they are used again by the model that made them"
        )
    if found.set_aside is not None:
        tell(
            f"the file itself was damaged; it is now {found.set_aside}, "
            "and the whole rows are in a new one"
        )
    return 1 if found.removed or found.set_aside is not None else 0


@app.command(name="prune")
def _prune(
    *,
    store: Store = None,
    unused_days: Annotated[
        int | None,
        Parameter(validator=_not_negative, help="Remove what was not used for more days."),
    ] = None,
    max_mib: Annotated[
        float | None,
        Parameter(validator=_not_negative, help="Remove the least recently used, until it fits."),
    ] = None,
    model: Annotated[str | None, Parameter(help="Remove what this model scored.")] = None,
    everything: Annotated[bool, Parameter(name="--all", help="Remove everything.")] = False,
    dry_run: Annotated[bool, Parameter(help="Only say what would go.")] = False,
) -> int:
    """Remove rows that any of the options names, and give their room back."""
    max_bytes = None if max_mib is None else int(max_mib * _MIB)
    rules = PruneRules(unused_days, max_bytes, model, everything)
    if rules == PruneRules():
        raise ConfigError("name what to remove: --unused-days, --max-mib, --model or --all")
    path = _path(store)
    if not _is_there(path, store):
        return 0
    with StoreFile(path) as opened:
        before = _mib(opened.path)
        removed = prune(opened, rules, dry_run)
        for line in removed:
            tell(f"  {line.rows} rows of {_name(line.context)}")
        n_rows = sum(line.rows for line in removed)
        tell(f"{n_rows} rows would be removed" if dry_run else f"{n_rows} rows removed")
        if everything:
            _remove_set_aside(opened.path, dry_run)
        if not dry_run:
            _compact(opened, n_rows)
            tell(f"{before:.1f} MiB before, {_mib(opened.path):.1f} now")
    return 0


@app.command(name="export")
def _export(folder: Path, *, store: Store = None, model: str | None = None) -> int:
    """Write what is stored into a folder, a file for each model and setting.

    Args:
        folder: Made when missing.
        store: Score store; scores.db in the state folder when absent.
        model: Only what this model has scored.
    """
    from gradgate.scoring.shards.transfer import export

    path = _path(store)
    if not path.exists():
        raise StoreError(_no_store(path))
    for file, n_samples in export(path, folder, model):
        tell(f"{n_samples} rows: {file}")
    return 0


@app.command(name="import")
def _import(folder: str, *, store: Store = None) -> int:
    """Put the scores of a folder, exported or of shards, into the store; what it knows stays.

    Args:
        folder: What `cache export` or `prepare` has written, or its fsspec URL.
        store: Score store; scores.db in the state folder when absent.
    """
    from gradgate.scoring.shards.folder import ShardFolder
    from gradgate.scoring.shards.transfer import import_segment, segments_in

    path, shards = _path(store), ShardFolder(folder)
    for name in segments_in(shards):
        found = import_segment(shards, name, path)
        tell(f"{found.n_samples} rows of {_name(found.context)}: {shards.shown(name)}")
        if found.n_outdated:
            tell(f"{found.n_outdated} rows lack a signal of today and were left out")
    return 0


def _compact(store: StoreFile, n_rows: int) -> None:
    try:
        compact(store)
    except StoreError as error:
        raise StoreError(
            f"{n_rows} rows removed; their room could not be given back "
            f"({error.__cause__ or error}): free room in $SQLITE_TMPDIR, $TMPDIR or /var/tmp "
            "and on the store's disk"
        ) from error


def _remove_set_aside(path: Path, dry_run: bool) -> None:
    for file in files_set_aside(path):
        if not dry_run:
            file.unlink(missing_ok=True)
        tell(f"{file} {'would be' if dry_run else 'was'} deleted")


def _path(store: Path | None) -> Path:
    return score_store() if store is None else store


def _is_there(path: Path, named: Path | None) -> bool:
    """Whether there is a store; one that was named must be there."""
    if path.exists():
        return True
    if named is not None:
        raise StoreError(_no_store(path))
    tell(_no_store(path))
    return False


def _no_store(path: Path) -> str:
    return f"there is no score store at {path} yet; scoring makes one"


def _mib(path: Path) -> float:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists()) / _MIB


def _name(context: ScoreContext | None) -> str:
    if context is None:
        return "a context whose description is damaged"
    adapter = "" if context.adapter is None else f" with {context.adapter}"
    probes = f", probes {context.probes_sha256[:12]}" if context.probes_sha256 else ""
    return f"{context.model_path}{adapter} (k = {context.k}, {context.dtype}{probes})"


def _table(found: list[ContextRows]) -> Table:
    table = Table()
    for name in ("model", "revision", "digest", "adapter", "digest", "probes"):
        table.add_column(name, overflow="fold")
    for name in ("k", "dtype", "rows", "failed", "first used", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in found:
        counts = (line.rows, line.failed, line.first_used, line.last_used)
        cells = (*_described(line.context), *counts)
        table.add_row(*(Text("" if c is None else one_line(c)) for c in cells))
    return table


def _described(context: ScoreContext | None) -> tuple[str | int | None, ...]:
    if context is None:
        return ("(description damaged)", *[None] * 7)
    return (
        context.model_path,
        context.model_revision,
        context.model_sha256[:12],
        context.adapter,
        context.adapter_sha256 and context.adapter_sha256[:12],
        context.probes_sha256 and context.probes_sha256[:12],
        context.k,
        context.dtype,
    )
