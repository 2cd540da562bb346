"""What people have decided takes effect on the flags of a run: the one place where it does."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.approvals.log import Head, Keys, Log, read_log
from gradgate.approvals.record import Entry, GroupEvidence
from gradgate.approvals.stances import OPEN, Row, Ruling, Standing, rule, standing_of
from gradgate.common import parquet
from gradgate.common.files import written_whole
from gradgate.common.parquet import data_errors
from gradgate.common.run_folder import DROP, KEEP, RunFolder, flag_column, is_scored
from gradgate.common.state import audit_folder
from gradgate.config import ApprovalsConfig, InDoubt
from gradgate.gate.flag_table import count_marked
from gradgate.gate.flags import Flagging, write_flagged
from gradgate.gate.quarantine import write_quarantined
from gradgate.gate.verdict import Approval
from gradgate.methods.evidence import Question

logger = logging.getLogger(__name__)

_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class Approved:
    """What people have decided on the rows of a run.

    Attributes:
        n_kept: Rows with a score that they keep.
        n_dropped: Rows with a score that they drop.
        approvals: The decisions, in the order of the log.
        log: Where the log ended; None where it was not asked.
    """

    n_kept: int = 0
    n_dropped: int = 0
    approvals: list[Approval] = field(default_factory=list)
    log: Head | None = None

    @property
    def n_decided(self) -> int:
        """Rows that nobody has to look at any more."""
        return self.n_kept + self.n_dropped

    @property
    def reasons(self) -> list[str]:
        """In words; nothing where nothing was decided."""
        if not self.n_decided:
            return []
        return [
            f"people have decided on {self.n_decided} rows: {self.n_kept} kept, "
            f"{self.n_dropped} dropped"
        ]


NOTHING_APPROVED = Approved()


def honour(
    run: RunFolder,
    flaggings: Sequence[Flagging],
    config: ApprovalsConfig,
    keys: Keys,
    in_doubt: InDoubt,
) -> tuple[list[Flagging], Approved]:
    """Let the decisions of those who count today take effect on a run.

    Writes the column `approved` of flags.parquet, and flagged.parquet and quarantined.parquet anew.

    Args:
        run: Holds samples.parquet and flags.parquet.
        flaggings: What the methods say.
        config: Who counts, and how many are needed.
        keys: By which the entries of the log have to be signed; none where the gate has no key.
        in_doubt: The policy.

    Returns:
        The flaggings, which count the rows that are open still, and what was decided.

    Raises:
        BrokenLogError: The log is not as it was written; nothing may rest on it.
        ConfigError: The log is signed, and the gate has no key to check that by.
        DataError: A table of the run cannot be read.
    """
    if not config.who:
        return _written(run, flaggings, {}, None, config, in_doubt)
    log = read_log(audit_folder(), keys)
    return _written(run, flaggings, standing_of(log, config.who), log, config, in_doubt)


def _written(
    run: RunFolder,
    flaggings: Sequence[Flagging],
    people: Mapping[str, Standing],
    log: Log | None,
    config: ApprovalsConfig,
    in_doubt: InDoubt,
) -> tuple[list[Flagging], Approved]:
    head = None if log is None else log.head
    if not people and run.quarantined.exists() and not _has_earlier(run):
        return list(flaggings), Approved(log=head)
    tally = _Tally(flaggings, people, config.needed)
    tally.write(run)
    questions = [one.question for one in flaggings]
    write_flagged(run, questions)
    write_quarantined(run, in_doubt, questions)
    counts = count_marked(run, questions)
    left = [
        replace(
            one,
            n_flagged=None if one.n_flagged is None else counts[one.question].n_flagged,
            n_in_doubt=counts[one.question].n_in_doubt,
        )
        for one in flaggings
    ]
    found = Approved(tally.n[KEEP], tally.n[DROP], tally.approvals(log), head)
    logger.info("approvals: %d rows kept and %d dropped by people", found.n_kept, found.n_dropped)
    return left, found


def _has_earlier(run: RunFolder) -> bool:
    """Whether the table has decisions of a run that was taken over."""
    column = parquet.table(run.flags, ["approved"])["approved"]
    return bool(column.null_count < len(column))


class _Tally:
    """The decisions on the rows of a table, and how many rest on which entry."""

    def __init__(
        self, flaggings: Sequence[Flagging], people: Mapping[str, Standing], needed: int
    ) -> None:
        self.n: Counter[str] = Counter()
        self._people, self._needed = people, needed
        self._questions = [one.question for one in flaggings]
        self._groups = {
            (one.question, group.id): GroupEvidence.of(one.question, one.method, group)
            for one in flaggings
            for group in one.groups
        }
        self._seen = {sample for one in people.values() for sample in one.of_sample}
        self._has_patterns = any(one.patterns for one in people.values())
        self._rows_of: Counter[int] = Counter()
        self._entries: dict[int, Entry] = {}

    def write(self, run: RunFolder) -> None:
        """Write the column `approved`."""
        with data_errors(run.flags), pq.ParquetFile(run.flags, pre_buffer=False) as file:
            schema = file.schema_arrow
            at = schema.get_field_index("approved")
            with (
                written_whole(run.flags) as part,
                pq.ParquetWriter(part, schema, compression="zstd") as writer,
            ):
                for batch in file.iter_batches(_BATCH_ROWS):
                    said = pa.array(self._rule_all(batch), pa.string())
                    table = pa.Table.from_batches([batch])
                    writer.write_table(table.set_column(at, schema.field(at), said))

    def approvals(self, log: Log | None) -> list[Approval]:
        """The entries that any row rests on."""
        return [
            Approval(
                by=entry.by,
                action=entry.action,
                chosen=entry.chosen,
                run=entry.run,
                at=f"{entry.time:%Y-%m-%dT%H:%M:%SZ}",
                reason=entry.reason,
                pattern=entry.pattern,
                entry="" if log is None else log.digests[number - 1],
                n_rows=self._rows_of[number],
            )
            for number, entry in sorted(self._entries.items())
        ]

    def _rule_all(self, batch: pa.RecordBatch) -> list[str | None]:
        scored = is_scored(batch).tolist()
        ids = batch["sample_id"].to_pylist()
        found: list[str | None] = []
        for i, held in enumerate(self._held(batch)):
            is_asked = scored[i] and (ids[i] in self._seen or (self._has_patterns and held))
            ruling = rule(Row(ids[i], held), self._people, self._needed) if is_asked else OPEN
            self._count(ruling)
            found.append(ruling.action)
        return found

    def _held(self, batch: pa.RecordBatch) -> Iterator[dict[Question, list[GroupEvidence]]]:
        """Of each row and each question to which it is open, the groups that hold it."""
        columns = []
        for question in self._questions:
            names = (
                flag_column(name, question, self._questions)
                for name in ("flagged", "in_doubt", "groups")
            )
            flagged, doubted, groups = (batch[name] for name in names)
            clear = pc.and_(
                pc.fill_null(pc.invert(flagged), False), pc.fill_null(pc.invert(doubted), False)
            )
            columns.append((question, np.asarray(clear), groups.to_pylist()))
        for i in range(batch.num_rows):
            yield {
                question: self._evidence(question, groups[i] or [])
                for question, clear, groups in columns
                if not clear[i]
            }

    def _evidence(self, question: Question, numbers: Sequence[int]) -> list[GroupEvidence]:
        found = [self._groups[question, number] for number in numbers]
        return [group for group in found if group.ruling != "honest"]

    def _count(self, ruling: Ruling) -> None:
        if ruling.action is None:
            return
        self.n[ruling.action] += 1
        for entry in ruling.entries:
            self._rows_of[entry.number] += 1
            self._entries[entry.number] = entry
