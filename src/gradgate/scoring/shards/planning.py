"""A prepared dataset becomes a plan: its distinct samples in prefix order, cut into units.

Sorting is done on disk, so that memory does not depend on the number of rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, groupby, islice
from pathlib import Path
from sqlite3 import Connection

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.files import file_sha256
from gradgate.common.scratch import scratch_database
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, PreparedSample, iter_prepared
from gradgate.data.tokens import Tokens
from gradgate.errors import ConfigError
from gradgate.safety.source import ProbeSource
from gradgate.scoring.shards.folder import PLAN, PROBES, ROWS, UNITS, ShardFolder
from gradgate.scoring.shards.plan import (
    ROW_SCHEMA,
    UNIT_SCHEMA,
    UNITS_PER_FILE,
    WORK_SCHEMA,
    Plan,
    setting_of,
    work_name,
)
from gradgate.scoring.shards.units import (
    SPREAD_UNIT_TOKENS,
    Unit,
    cut,
    digest_of,
    unit_of,
    unit_tokens_of,
)
from gradgate.scoring.store.row import ScoreContext
from gradgate.scoring.worklist import packed, sortable, tokens_of

_WINDOW = 2_048  # rows that are read, or written, together


@dataclass(frozen=True)
class Recipe:
    """How samples of a plan are scored.

    Attributes:
        context: What decides a score.
        model: Where workers find the model; its revision is settled.
        scoring: Mode and size of the steps.
        probes: The probing set that samples are held against; None for none.
    """

    context: ScoreContext
    model: ModelConfig
    scoring: ScoringConfig
    probes: ProbeSource | None = None


@dataclass
class Division:
    """What was cut, and what a worker must know before it loads the model.

    Attributes:
        longest: Tokens of the longest sample.
        largest_id: The largest id of a token.
    """

    units: list[Unit] = field(default_factory=list)
    longest: int = 0
    largest_id: int = -1

    def add(self, samples: Sequence[Tokens], n_tokens: int) -> None:
        """Append a unit."""
        first = self.units[-1].end if self.units else 0
        self.units.append(unit_of(first, samples, n_tokens))
        self.longest = max(self.longest, *(len(one.input_ids) for one in samples))
        self.largest_id = max(self.largest_id, *(max(one.input_ids) for one in samples))


def write_plan(
    folder: ShardFolder,
    prepared: Prepared,
    recipe: Recipe,
    unit_tokens: int | None = None,
    samples: Iterable[list[PreparedSample]] | None = None,
) -> Plan:
    """Write all that workers and the merge need, and the plan last.

    Args:
        folder: Not prepared, or with the same plan, which is then left as it is.
        prepared: The samples; at least one.
        recipe: How they are scored.
        unit_tokens: Distinct tokens of a unit, about; by the size of the data when absent.
        samples: Instead of those in the files of `prepared`, in the order of the source.

    Raises:
        ConfigError: The folder holds another plan.
        StoreError: It cannot be written.
        TransientError: The store does not answer.
    """
    before = Plan.read(folder) if folder.has(PLAN) else None
    with scratch_database() as database:
        table = _Sorted(database)
        given = iter_prepared(prepared.samples_path, _WINDOW) if samples is None else samples
        for window in given:
            table.add(window)
        unit_tokens = unit_tokens or unit_tokens_of(table.n_tokens)
        found = cut_into(folder if before is None else None, table.samples(), unit_tokens)
        if before is not None:
            return _unchanged(before, plan_of(prepared, recipe, found, {}), folder)
        with folder.written(ROWS) as part:
            _write_rows(part, table)
            digest = file_sha256(part)
    plan = plan_of(prepared, recipe, found, {ROWS: digest})
    write_plan_files(folder, plan, found, recipe)
    return plan


def write_plan_files(folder: ShardFolder, plan: Plan, found: Division, recipe: Recipe) -> None:
    """Write units, probing set and, last, the plan; the work is there."""
    table = pa.Table.from_pylist([asdict(unit) for unit in found.units], schema=UNIT_SCHEMA)
    with folder.written(UNITS) as part:
        pq.write_table(table, part)
    if recipe.probes is not None:
        folder.put(PROBES, recipe.probes.probes.model_dump_json(indent=1).encode("utf-8"))
    plan.write(folder)


def plan_samples(
    folder: ShardFolder, samples: Iterable[Tokens], prepared: Prepared, recipe: Recipe
) -> Plan:
    """Write what workers need of some samples of a dataset; nothing to be merged.

    Args:
        folder: Empty.
        samples: Distinct ones in prefix order; at least one.
        prepared: The dataset that they are of.
        recipe: How they are scored.

    Raises:
        StoreError: It cannot be written.
        TransientError: The store does not answer.
    """
    found = cut_into(folder, samples, SPREAD_UNIT_TOKENS)
    plan = plan_of(prepared, recipe, found, {})
    write_plan_files(folder, plan, found, recipe)
    return plan


def _unchanged(before: Plan, now: Plan, folder: ShardFolder) -> Plan:
    """The plan that is there, which must be the one that would be written now."""
    same = ("digest", "fingerprint", "n_rows", "n_samples", "setting", "is_probed")
    names = [name for name in same if getattr(before, name) != getattr(now, name)]
    if names:
        raise ConfigError(
            f"{folder.address} is prepared for other samples or settings ({', '.join(names)} "
            "differ); name another folder, or delete this one"
        )
    return before


def cut_into(folder: ShardFolder | None, samples: Iterable[Tokens], unit_tokens: int) -> Division:
    """Cut samples in prefix order into units, and write them; without a folder only cut them."""
    found, units = Division(), cut(samples, unit_tokens)
    if folder is None:
        for unit in units:
            found.add(*unit)
        return found
    while (first := next(units, None)) is not None:
        name, _ = work_name(len(found.units))
        with folder.written(name) as part:
            _write_work(part, chain([first], islice(units, UNITS_PER_FILE - 1)), found)
    return found


def _write_work(path: Path, units: Iterable[tuple[list[Tokens], int]], found: Division) -> None:
    """Write the samples of some units, a row group each."""
    with pq.ParquetWriter(path, WORK_SCHEMA, compression="zstd") as writer:
        for samples, n_tokens in units:
            found.add(samples, n_tokens)
            columns = [[s.input_ids for s in samples], [s.is_target for s in samples]]
            table = pa.table(columns, schema=WORK_SCHEMA)
            writer.write_table(table, row_group_size=len(samples))


def plan_of(prepared: Prepared, recipe: Recipe, found: Division, files: dict[str, str]) -> Plan:
    """The plan for samples that were cut."""
    setting = setting_of(recipe.context)
    if recipe.model.dtype == "auto":  # for the hardware of the workers to say
        setting["dtype"] = None
    sections = {"model": recipe.model, "scoring": recipe.scoring}
    return Plan(
        digest=digest_of(found.units),
        source=prepared.source,
        fingerprint=prepared.fingerprint,
        n_rows=prepared.n_rows,
        n_samples=prepared.n_samples,
        n_unique=prepared.n_unique,
        n_places=found.units[-1].end,
        n_units=len(found.units),
        n_tokens=sum(unit.n_tokens for unit in found.units),
        longest=found.longest,
        largest_id=found.largest_id,
        files=files,
        setting=setting,
        config={name: section.model_dump() for name, section in sections.items()},
        is_probed=recipe.context.is_probed,
    )


class _Sorted:
    """The rows of a dataset on disk: by their tokens, and by their numbers again."""

    def __init__(self, database: Connection) -> None:
        self.n_tokens = 0
        self._database = database
        database.execute("CREATE TABLE work (ids BLOB, mask BLOB, row INTEGER, sample BLOB)")
        database.execute(
            "CREATE TABLE placed (row INTEGER, sample BLOB, place INTEGER, tokens INTEGER)"
        )

    def add(self, window: Sequence[PreparedSample]) -> None:
        """Add rows; their samples may be equal."""
        rows = [
            (
                *(sortable(one.tokens.input_ids), packed(one.tokens.is_target)),
                *(one.row, bytes.fromhex(one.sample_id)),
            )
            for one in window
        ]
        self._database.executemany("INSERT INTO work VALUES (?, ?, ?, ?)", rows)
        self.n_tokens += sum(len(one.tokens.input_ids) for one in window)

    def samples(self) -> Iterator[Tokens]:
        """Every distinct sample once, by token ids; the places of its rows are noted."""
        query = "SELECT ids, mask, row, sample FROM work ORDER BY ids, mask, row"
        lines = self._database.cursor().execute(query)
        for place, ((ids, mask), rows) in enumerate(groupby(lines, key=lambda line: line[:2])):
            placed = [(row, sample, place, len(mask)) for _, _, row, sample in rows]
            self._database.executemany("INSERT INTO placed VALUES (?, ?, ?, ?)", placed)
            yield tokens_of(ids, mask)

    def rows(self) -> Iterator[list[tuple[int, bytes, int, int]]]:
        """Rows with the places of their samples, in the order of the source, some at a time."""
        lines = self._database.execute("SELECT row, sample, place, tokens FROM placed ORDER BY row")
        while window := lines.fetchmany(_WINDOW):
            yield window


def _write_rows(path: Path, table: _Sorted) -> None:
    with pq.ParquetWriter(path, ROW_SCHEMA, compression="zstd") as writer:
        for window in table.rows():
            columns = [list(column) for column in zip(*window, strict=True)]
            writer.write_table(pa.table(columns, schema=ROW_SCHEMA))
