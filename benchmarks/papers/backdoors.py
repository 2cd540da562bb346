"""The cells of GradSentry's tables: poison, judge, train, ask."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.matrix.datasets import Row, load_rows
from benchmarks.papers.bench import Bench, Flags, counts, is_known, write_rows
from benchmarks.papers.cells import CLEAN_ONLY, DECODING, UNGATED, Cell
from benchmarks.papers.results import Counted, Result
from benchmarks.papers.tuned import Tuning
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import prepare
from gradgate.drill.config import DrillConfig
from gradgate.drill.data import CLEAN, POISONED, DrillData, make_data, read_questions
from gradgate.errors import DataError, GradgateError


def compute(bench: Bench, cells: Sequence[Cell]) -> Iterator[Result]:
    """The lines of cells with the same rows."""
    with bench.folder() as name:
        try:
            rows = training_rows(bench, cells[0])
            here = Subject.made(bench, cells[0], rows, Path(name))
        except GradgateError as error:
            yield from (bench.line(cell, skipped=str(error)) for cell in cells)
            return
        for cell in cells:
            try:
                yield here.measure(cell)
            except GradgateError as error:
                yield bench.line(cell, skipped=str(error))


def training_rows(bench: Bench, cell: Cell) -> list[Row]:
    """Training rows and, for a poisoned set, those that are held back."""
    held_back = bench.test_rows if cell.attack is not None else 0
    spare = 20  # rows that share a prompt with one that is held back are left out
    return load_rows(cell.dataset, cell.seed, bench.shared, cell.rows + held_back + spare)  # type: ignore[arg-type]


class Subject:
    """The rows of some cells, and what was found out about them so far.

    Attributes:
        poisoned: The truth. (n,)
    """

    def __init__(self, bench: Bench, folder: Path, poisoned: Marks, drill: DrillData | None):
        """Take what `made` wrote."""
        self._bench = bench
        self._folder = folder
        self.poisoned = poisoned
        self._flags: dict[str, Flags] = {}
        self._tuning = Tuning(bench)
        self._drill = drill

    @classmethod
    def made(cls, bench: Bench, cell: Cell, rows: list[Row], folder: Path) -> "Subject":
        """Write the rows into the folder, poisoned unless the cell is clean.

        Raises:
            GradgateError: The attack cannot be carried out on so few rows.
        """
        if cell.attack is None:
            write_rows(folder / POISONED, rows[: cell.rows])
            return cls(bench, folder, np.zeros(min(cell.rows, len(rows)), bool), None)
        source = write_rows(folder / "rows.jsonl", rows)
        config = DrillConfig.model_validate(
            {
                "data": {"source": str(source)},
                "model": bench.model.model_dump(),
                "drill": {
                    "attack": cell.attack,
                    "rate": cell.rate,
                    "seed": cell.seed,
                    "test_rows": bench.test_rows,
                    "train_rows": cell.rows,
                },
            }
        )
        limit = bench.handle.limit(config.data.max_tokens)
        made = make_data(config, bench.handle.tokenizer(), limit, folder)
        return cls(bench, folder, np.array([role == "poisoned" for role in made.roles]), made)

    def measure(self, cell: Cell) -> Result:
        """One line; errors as of what it runs."""
        if cell.training == "none":
            return self._bench.line(cell, **counts(self.judged(cell.defence), self.poisoned))
        samples, kept = self._trained_on(cell.defence)
        assert self._drill is not None
        asked = read_questions(self._folder)
        said, trained = self._tuning.answers(
            *(cell.training, samples, kept, [question.prompt for question in asked]),
            max_new_tokens=self._drill.max_new_tokens,
            decoding=cell.defence == DECODING,
        )
        hits = [question.is_met_by(text) for text, question in zip(said, asked, strict=True)]
        of_kind = {
            kind: [hit for hit, question in zip(hits, asked, strict=True) if question.kind == kind]
            for kind in ("clean", "triggered")
        }
        return self._bench.line(
            cell,
            success=Counted(sum(of_kind["triggered"]), len(of_kind["triggered"])),
            right=Counted(sum(of_kind["clean"]), len(of_kind["clean"])),
            trained_on=trained.n_samples,
            train_loss=trained.train_loss,
            seconds=round(trained.seconds, 1),
        )

    @property
    def samples(self) -> Path:
        """The poisoned rows, tokenized."""
        return self._prepared(POISONED)

    def judged(self, method: str) -> Flags:
        """The gate's answer by one method; errors as for `Bench.judge`."""
        if not is_known(method):
            raise DataError(f"there is no method {method} in this version")
        if method not in self._flags:
            run = RunFolder(self._folder / method)
            run.path.mkdir()
            self._flags[method] = self._bench.judge(self._folder / POISONED, method, run)
        return self._flags[method]

    def _trained_on(self, defence: str) -> tuple[Path, Marks | None]:
        """Samples, and which of them; all for None."""
        if defence == CLEAN_ONLY:
            return self._prepared(CLEAN), None
        if defence in (UNGATED, DECODING):
            return self.samples, None
        return self.samples, ~self.judged(defence).kept_out

    def _prepared(self, name: str) -> Path:
        folder = self._folder / f"prepared-{name}"
        if not folder.exists():
            folder.mkdir()
            data = self._bench.data(self._folder / name)
            limit = self._bench.handle.limit(data.max_tokens)
            prepare(data, self._bench.handle.tokenizer(), limit, folder)
        return RunFolder(folder).samples
