"""Put rows that a gate kept out back beside the accepted ones, by a person who answers for it.

What comes of it is a new file of rows; the verdict and what `train` accepts stay as they are. A
record beside the file says who put which rows back, and why.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq

from gradgate.common import parquet
from gradgate.common.files import file_sha256, own_aside, written_whole
from gradgate.errors import ConfigError, DataError
from gradgate.gate.accounts import (
    ACCOUNTS,
    FLAGGED,
    NO_SCORE,
    NOT_JUDGED,
    REJECTED,
    STATES,
    WHY,
    Account,
    accepted_file,
    read_accounts,
    row_file,
)
from gradgate.gate.quarantine import IN_DOUBT
from gradgate.gate.ranges import Range, as_said, extend
from gradgate.gate.row_files import Line, Row, RowKind

_UNJUDGED = (REJECTED, NO_SCORE, NOT_JUDGED)
_NAMED = 3  # rows or reasons in an error


@dataclass(frozen=True)
class Chosen:
    """Which rows are put back: those that any of the choices fits.

    Attributes:
        rows: Numbers, as ranges with both ends.
        groups: Such as `poisoned:1`: the rows that are flagged or in doubt and shown with it.
        reasons: What `why` says, or a part of a reason; a word of `why` is never looked for in the
            reasons, for these quote the data.
    """

    rows: Sequence[Range] = ()
    groups: Sequence[str] = ()
    reasons: Sequence[str] = ()

    def as_said(self) -> dict[str, str | list[str]]:
        """The choices, for the record."""
        groups, reasons = list(self.groups), list(self.reasons)
        return {"rows": as_said(self.rows), "groups": groups, "reasons": reasons}

    def fits(self, account: Account) -> bool:
        """Whether a row is among them."""
        return (
            any(first <= account.row <= last for first, last in self.rows)
            or _is_shown_with(account, self.groups)
            or any(_says(account, text) for text in self.reasons)
        )


def _is_shown_with(account: Account, groups: Sequence[str]) -> bool:
    """Whether a page shows a row among those of a group; copies have a place of their own."""
    is_of_group = account.why in (FLAGGED, IN_DOUBT) and bool(account.groups)
    return is_of_group and account.groups[0] in groups


def _says(account: Account, text: str) -> bool:
    """Whether a row is out for what a choice names."""
    if text in WHY:
        return text == account.why
    return any(text in reason for reason in account.reasons)


@dataclass(frozen=True)
class Restored:
    """What was done; the record beside the file.

    Attributes:
        by: Who.
        reason: Why.
        at: When, in UTC.
        chosen: As it was asked for: `rows`, `groups` and `reasons`.
        n_rows: Rows of the new file.
        n_restored: Those of them that were kept out.
        n_not_judged: Restored rows that no method has looked at.
        rows: The restored ones, such as `3,17-20`.
        decision: Of the verdict on the dataset.
        dataset_fingerprint: Of the verdict.
        accepted_sha256: Of the file of the accepted rows that was read.
        sha256: Of the new file.
        version: Of gradgate.
    """

    by: str
    reason: str
    at: str
    chosen: dict[str, str | list[str]]
    n_rows: int
    n_restored: int
    n_not_judged: int
    rows: str
    decision: str
    dataset_fingerprint: str
    accepted_sha256: str
    sha256: str
    version: str


def record_path(output: Path) -> Path:
    """Where the record lies."""
    return output.with_name(f"{output.name}.restored.json")


def restore(folder: Path, chosen: Chosen, output: Path, by: str, reason: str) -> Restored:
    """Write the accepted rows and the chosen ones, in the order of the source, and the record.

    Memory does not depend on the number of rows that stay where they are.

    Args:
        folder: The rows of a gate run (`RunFolder.rows`).
        chosen: The rows to put back.
        output: Of the kind of the accepted file; both it and the record are new.
        by: Who answers for it.
        reason: Why.

    Raises:
        ConfigError: Nothing is chosen, a row does not exist or could never be read, or the output
            has the wrong ending or is there already.
        DataError: The files of the folder are damaged, or do not belong together.
    """
    kind = RowKind.of_file(accepted_file(folder))
    for path in (output, record_path(output)):
        if path.exists():
            raise _taken(path)
    if output.suffix != kind.suffix:
        raise ConfigError(f"the rows are {kind.suffix} files; name an output with that ending")
    accepted, facts = row_file(folder, "accepted", kind), _facts(folder)
    with _both_new(output) as (part, record):
        tally = _copy(folder, kind, chosen, part)
        done = Restored(
            by=by,
            reason=reason,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            chosen=chosen.as_said(),
            n_rows=tally.n_rows,
            n_restored=tally.n_restored,
            n_not_judged=tally.n_not_judged,
            rows=as_said(tally.ranges),
            decision=facts.get("gradgate.decision", ""),
            dataset_fingerprint=facts.get("gradgate.dataset_fingerprint", ""),
            accepted_sha256=file_sha256(accepted),
            sha256=file_sha256(part),
            version=version("gradgate"),
        )
        record.write_text(json.dumps(asdict(done), indent=2) + "\n", encoding="utf-8")
    return done


@contextmanager
def _both_new(output: Path) -> Iterator[tuple[Path, Path]]:
    """Where the file and its record are built; the record gets its name last.

    Raises:
        ConfigError: Somebody else has written one of them meanwhile.
    """
    record_of = record_path(output)
    try:
        with (
            written_whole(record_of, own_aside(record_of), is_new=True) as record,
            written_whole(output, own_aside(output), is_new=True) as part,
        ):
            yield part, record
    except FileExistsError as error:
        raise _taken(output) from error


def _taken(path: Path) -> ConfigError:
    return ConfigError(f"{path} exists; remove it or name another output")


@dataclass
class _Tally:
    """What is copied, row by row.

    Attributes:
        ranges: Of the restored rows, with both ends.
        unfit: The chosen rows that are no rows but text.
        whys: Why rows were kept out, for those that nothing fits.
        groups: In which groups.
    """

    n_rows: int = 0
    n_restored: int = 0
    n_not_judged: int = 0
    ranges: list[Range] = field(default_factory=list)
    unfit: list[int] = field(default_factory=list)
    whys: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)

    def restored(self, account: Account, row: Row) -> None:
        """Count a row that is put back."""
        self.n_restored += 1
        self.n_not_judged += account.why in _UNJUDGED
        if isinstance(row, Line) and not row.is_json:
            self.unfit.append(account.row)
        extend(self.ranges, account.row)


def _copy(folder: Path, kind: RowKind, chosen: Chosen, part: Path) -> _Tally:
    """Write the accepted and the chosen rows; errors as for `restore`."""
    tally = _Tally()
    last = -1
    with closing(kind.writer(part, kept_out=False)) as written:
        for account, row in read_rows(folder, kind):
            last = account.row
            is_restored = account.state != "accepted" and chosen.fits(account)
            if account.state != "accepted":
                tally.whys.add(account.why)
                tally.groups |= {
                    group for group in account.groups if _is_shown_with(account, [group])
                }
            if is_restored:
                tally.restored(account, row)
            if is_restored or account.state == "accepted":
                tally.n_rows += 1
                written.add(row, None)
    _check(tally, chosen, last)
    return tally


def _check(tally: _Tally, chosen: Chosen, last: int) -> None:
    beyond = [high for _, high in chosen.rows if high > last]
    if beyond:
        raise ConfigError(f"there is no row {beyond[0]}; the rows are 0 to {last}")
    if tally.unfit:
        named = ", ".join(map(str, tally.unfit[:_NAMED]))
        raise ConfigError(
            f"{len(tally.unfit)} of the chosen rows could not be read, among them {named}; mend "
            "them in the source and run the gate again"
        )
    if not tally.n_restored:
        whys = ", ".join(sorted(tally.whys)) or "none: no row was kept out"
        groups = f"; their groups are: {', '.join(sorted(tally.groups))}" if tally.groups else ""
        raise ConfigError(
            f"no row that was kept out fits the choice; they are kept out as: {whys}{groups}"
        )


def read_rows(folder: Path, kind: RowKind) -> Iterator[tuple[Account, Row]]:
    """Every row of the source with its account, in order, from the folder of a run's rows.

    Raises:
        DataError: The files are damaged, or do not belong together.
    """
    files = {
        state: kind.read(row_file(folder, state, kind), state != "accepted") for state in STATES
    }
    for account in read_accounts(folder / ACCOUNTS):
        row, own = next(files[account.state], (None, None))
        if row is None or own != account.own:
            raise DataError(
                f"{folder}: row {account.row} is not in the file of its state; the files do not "
                "belong together, so run the gate again"
            )
        yield account, row
    for state, rows in files.items():
        if next(rows, None) is not None:
            raise DataError(f"{folder}: {ACCOUNTS} lacks rows of {state}; run the gate again")


def _facts(folder: Path) -> dict[str, str]:
    """Decision and fingerprint, as accounts.parquet has them.

    Raises:
        DataError: The file is damaged, or what it says of itself is no text.
    """
    with parquet.data_errors(folder / ACCOUNTS):
        found = pq.read_schema(folder / ACCOUNTS).metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}
