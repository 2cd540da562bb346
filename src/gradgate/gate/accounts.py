"""Every row of the source is accounted for: accepted, in quarantine, or rejected.

`settle` walks through the source and the tables of a run in step and writes each row, as it was,
into the file of its state, and into `accounts.parquet` why. Only a verdict `pass` accepts rows.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from heapq import merge
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

from gradgate.common.files import folder_written_whole
from gradgate.common.parquet import GroupWriter, batches
from gradgate.common.run_folder import ACCOUNT_SCHEMA, FAILED, KEEP, RunFolder, flag_column
from gradgate.data.prepare import Prepared
from gradgate.errors import DataError
from gradgate.gate.acceptance import accepted
from gradgate.gate.quarantine import COPY, DROPPED, IN_DOUBT
from gradgate.gate.row_files import Own, Row, RowKind
from gradgate.gate.verdict import Accounts, Verdict
from gradgate.methods.evidence import Question

State = Literal["accepted", "quarantine", "rejected"]
STATES: tuple[State, ...] = ("accepted", "quarantine", "rejected")
ACCOUNTS = "accounts.parquet"
FILES = {ACCOUNTS, *(f"{state}{suffix}" for state in STATES for suffix in (".jsonl", ".parquet"))}
# What `why` says besides `in doubt`, `copy` and `dropped`.
CLEAR, KEPT, FLAGGED, REJECTED = "clear", "kept", "flagged", "rejected"
NO_SCORE, UNDECIDED, VERDICT, NOT_JUDGED = "no score", "undecided", "verdict", "not judged"
_NOT_CLEARED = (NO_SCORE, UNDECIDED, VERDICT, NOT_JUDGED)
WHY = (CLEAR, KEPT, FLAGGED, IN_DOUBT, COPY, DROPPED, *_NOT_CLEARED, REJECTED)
_FLAGS = [
    *("row", "sample_id", "status", "reason", "spectral_entropy"),
    *("flagged", "in_doubt", "surplus_copy", "reasons", "approved"),
]


@dataclass(frozen=True, slots=True)
class Account:
    """Where a row went, and why; a line of `ACCOUNT_SCHEMA`."""

    row: int
    state: State
    why: str
    reasons: list[str]
    groups: list[str]
    sample_id: str | None = None

    @property
    def own(self) -> Own | None:
        """What the file of its state says of it; None of an accepted row."""
        if self.state == "accepted":
            return None
        return Own(self.row, self.why, self.reasons, self.groups)


def settle(run: RunFolder, prepared: Prepared, verdict: Verdict) -> Verdict:
    """Write the rows of the source into the files of their states, in `RunFolder.rows`.

    Memory does not depend on the number of rows.

    Args:
        run: Of the verdict, with the rows that `prepare` kept.
        prepared: The dataset.
        verdict: On it.

    Returns:
        The verdict with its accounts.

    Raises:
        DataError: A row is missing, is there twice, or the sums are not those of the verdict.
    """
    kind = RowKind.of_kept(run.source_rows)
    counts = settle_rows(run, prepared, verdict, kind, kind.kept(run.source_rows))
    shutil.rmtree(run.source_rows)
    return replace(verdict, accounts=counts)


def settle_rows(
    run: RunFolder, prepared: Prepared, verdict: Verdict, kind: RowKind, rows: Iterator[Row]
) -> Accounts:
    """As `settle`, of rows in the order of the source, which are read only."""
    why: Counter[str] = Counter()
    with folder_written_whole(run.rows) as folder, ExitStack() as stack:
        files = {
            state: stack.enter_context(
                closing(kind.writer(row_file(folder, state, kind), state != "accepted"))
            )
            for state in STATES
        }
        listed = stack.enter_context(closing(_listing(folder / ACCOUNTS, verdict)))
        for row, account in zip_longest(rows, _accounts(run, verdict)):
            if row is None or account is None or account.row != why.total():
                raise DataError(f"row {why.total()} of the source is not accounted for; run again")
            why[account.why] += 1
            listed.add(asdict(account))
            files[account.state].add(row, account.own)
        counts = _counted(why)
        _require_sums(counts, prepared, verdict)
    return counts


def row_file(folder: Path, state: State, kind: RowKind) -> Path:
    """Where the rows of a state lie."""
    return folder / f"{state}{kind.suffix}"


def accepted_file(folder: Path) -> Path:
    """The file of the accepted rows, in the folder that `settle` has written.

    Raises:
        DataError: There is none.
    """
    for suffix in (".jsonl", ".parquet"):
        path = folder / f"accepted{suffix}"
        if path.is_file():
            return path
    raise DataError(
        f"{folder} holds no accepted.jsonl or accepted.parquet; name the folder of rows"
    )


def read_accounts(path: Path) -> Iterator[Account]:
    """The lines of accounts.parquet.

    Raises:
        DataError: The file is missing or damaged, or a state in it is none.
    """
    for batch in batches(path, ACCOUNT_SCHEMA):
        for line in batch.to_pylist():
            if line["state"] not in STATES:
                raise DataError(
                    f"{path} cannot be read: row {line['row']} is {line['state']!r}, and not one "
                    f"of {', '.join(STATES)}; run the gate again"
                )
            yield Account(**line)


def _counted(why: Counter[str]) -> Accounts:
    return Accounts(
        n_rows=why.total(),
        n_accepted=why[CLEAR] + why[KEPT],
        n_flagged=why[FLAGGED],
        n_in_doubt=why[IN_DOUBT],
        n_copies=why[COPY],
        n_not_cleared=sum(why[name] for name in _NOT_CLEARED),
        n_rejected=why[REJECTED],
        n_dropped=why[DROPPED],
    )


def _require_sums(found: Accounts, prepared: Prepared, verdict: Verdict) -> None:
    """Check the arithmetic.

    Raises:
        DataError: It is not right.
    """
    n_quarantined = found.n_in_doubt + found.n_copies + found.n_dropped
    pairs = {
        "accepted, quarantined and rejected rows": (found.n_sum, prepared.n_rows),
        "rows": (found.n_rows, verdict.n_rows),
        "rejected rows": (found.n_rejected, verdict.n_rejected),
        "accepted rows": (found.n_accepted, verdict.n_accepted or 0),
    }
    if verdict.n_quarantined is not None:
        pairs["rows in doubt and copies, with what people drop,"] = (
            n_quarantined,
            verdict.n_quarantined,
        )
    for name, (now, expected) in pairs.items():
        if now != expected:
            raise DataError(f"there are {now} {name}, and there should be {expected}; run again")


def _accounts(run: RunFolder, verdict: Verdict) -> Iterator[Account]:
    """Of samples and rejected rows, in the order of the source."""
    samples = _judged(run, verdict) if run.flags.exists() else _unjudged(run, verdict)
    return merge(samples, _rejected(run), key=lambda account: account.row)


def _rejected(run: RunFolder) -> Iterator[Account]:
    for batch in batches(run.rejected, ["row", "reason"]):
        for line in batch.to_pylist():
            yield Account(line["row"], "rejected", REJECTED, [line["reason"]], [])


def _unjudged(run: RunFolder, verdict: Verdict) -> Iterator[Account]:
    why = _of_verdict(verdict)
    for batch in batches(run.samples, ["row", "sample_id"]):
        for line in batch.to_pylist():
            yield Account(line["row"], "quarantine", NOT_JUDGED, why, [], line["sample_id"])


def _judged(run: RunFolder, verdict: Verdict) -> Iterator[Account]:
    questions = [answer.question for answer in verdict.answers]
    names = ("group", "flagged", "in_doubt")
    said = {q: tuple(flag_column(name, q, questions) for name in names) for q in questions}
    columns = list(dict.fromkeys([*_FLAGS, *chain(*said.values())]))
    for batch in batches(run.flags, columns):
        clear = accepted(batch, verdict.in_doubt) & (verdict.decision == "pass")
        for line, is_clear in zip(batch.to_pylist(), clear.tolist(), strict=True):
            why, reasons = _why(line, verdict)
            member = _groups(line, said, why)
            state: State = "quarantine"
            if is_clear:
                state, why = "accepted", KEPT if line["approved"] == KEEP else CLEAR
            yield Account(line["row"], state, why, reasons, member, line["sample_id"])


def _groups(line: dict[str, Any], said: Mapping[Question, tuple[str, ...]], why: str) -> list[str]:
    """The groups of a row, one of each question: first that with which a page shows it.

    None where it is shown with no group, as such are decided on by their numbers.
    """
    mark = {FLAGGED: 1, IN_DOUBT: 2}.get(why)
    out_by = [q for q in said if mark is not None and line[said[q][mark]] is True][:1]
    if out_by and line[said[out_by[0]][0]] is None:
        return []
    found = {q: line[group] for q, (group, *_) in said.items() if line[group] is not None}
    return [f"{q}:{found[q]}" for q in dict.fromkeys([*out_by, *found])]


def _why(line: dict[str, Any], verdict: Verdict) -> tuple[str, list[str]]:
    """Why a row is kept out."""
    reasons = line["reasons"] or []
    if line["status"] == FAILED:
        return NO_SCORE, [*reasons, *filter(None, [line["reason"]])]
    said = line["approved"]
    if said not in (None, KEEP):
        return DROPPED, reasons
    if line["flagged"] is True and said is None:
        return FLAGGED, reasons
    if line["surplus_copy"] is True:
        return COPY, reasons
    if line["in_doubt"] is True and said is None and verdict.in_doubt != "keep":
        return IN_DOUBT, reasons
    if verdict.decision != "pass":
        return VERDICT, [*reasons, *_of_verdict(verdict)]
    return UNDECIDED, [*reasons, "no method has cleared it"]


def _of_verdict(verdict: Verdict) -> list[str]:
    return [f"the verdict on the dataset is {verdict.decision}"]


def _listing(path: Path, verdict: Verdict) -> GroupWriter:
    """The writer of accounts.parquet, which says on what verdict it rests."""
    facts = {
        "gradgate.decision": verdict.decision,
        "gradgate.dataset_fingerprint": verdict.dataset_fingerprint or "",
    }
    return GroupWriter(path, ACCOUNT_SCHEMA.with_metadata(facts))


def accepted_rows(folder: Path) -> Iterator[int]:
    """The numbers of the accepted rows, in the order of the source."""
    return (one.row for one in read_accounts(folder / ACCOUNTS) if one.state == "accepted")
