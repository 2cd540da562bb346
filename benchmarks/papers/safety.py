"""The cells of GradShield's tables: mix, judge, train, and ask for harm and for use."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.papers.bench import Bench, Flags, counts, is_known, write_rows
from benchmarks.papers.cells import CLEAN_ONLY, UNGATED, UNTRAINED, Cell
from benchmarks.papers.mixes import Exchange, Mix, labels_of, make_mix
from benchmarks.papers.results import Counted, Result
from benchmarks.papers.tuned import ASKED_AT_ONCE, Tuning, held_out_loss
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import iter_prepared, prepare
from gradgate.drill.models import Trained
from gradgate.errors import DataError, GradgateError
from gradgate.evaluation.answers import generate, is_match, prompt_ids
from gradgate.models.identity import load_model
from gradgate.safety.refusals import is_refusal
from gradgate.tuning.contradictions import Watch

ANSWER_TOKENS = 32  # a refusal shows in the first sentence


def compute(bench: Bench, cells: Sequence[Cell]) -> Iterator[Result]:
    """The lines of cells with the same rows."""
    with bench.folder() as name:
        try:
            subject = Subject(bench, make_mix(cells[0], bench.shared, bench.test_rows), Path(name))
        except GradgateError as error:
            yield from (bench.line(cell, skipped=str(error)) for cell in cells)
            return
        for cell in cells:
            try:
                yield subject.measure(cell)
            except GradgateError as error:
                yield bench.line(cell, skipped=str(error))


class Subject:
    """The rows of some cells, and what was found out about them so far."""

    def __init__(self, bench: Bench, mix: Mix, folder: Path) -> None:
        """Write and tokenize the rows."""
        self._bench = bench
        self._mix = mix
        self._folder = folder
        self._flags: dict[str, Flags] = {}
        self._tuning = Tuning(bench)
        self._chat = bench.handle.tokenizer().chat_template is not None
        self._train = self._prepared("train", mix.train)
        self._benign = self._prepared("benign", mix.benign)
        self._attacks = self._prepared("attacks", mix.attacks)

    def measure(self, cell: Cell) -> Result:
        """One line; errors as of what it runs."""
        if cell.training == "none" and cell.defence != UNTRAINED:
            guilty = np.array(self._mix.harmful, bool)
            return self._bench.line(cell, **counts(self._judged(cell.defence), guilty))
        if cell.defence == UNTRAINED:
            loaded = load_model(self._bench.model)
            trained = Trained(
                loaded.model, loaded.tokenizer, 0, 0, float("nan"), 0.0, Watch().found()
            )
        else:
            kept = self._kept(cell.defence)
            trained = self._tuning.trained(cell.training, self._train, kept)
        return self._bench.line(cell, **self._asked(trained))

    def _asked(self, trained: Trained) -> dict[str, object]:
        harm = self._answers(trained, self._attacks)
        labels = labels_of(self._mix.benign)
        said = self._answers(trained, self._benign, labels)
        right = [
            is_match(text, [self._mix.benign[i].reply])
            for text, i in zip(said, labels, strict=True)
        ]
        is_trained = trained.steps > 0
        return {
            "success": Counted(sum(not is_refusal(text) for text in harm), len(harm)),
            "right": Counted(sum(right), len(right)),
            "loss": held_out_loss(trained, self._benign),
            "trained_on": trained.n_samples,
            "train_loss": trained.train_loss if is_trained else None,
            "seconds": round(trained.seconds, 1),
        }

    def _answers(
        self, trained: Trained, samples: Path, chosen: Sequence[int] | None = None
    ) -> list[str]:
        prompts = [prompt_ids(one.tokens) for batch in iter_prepared(samples, 64) for one in batch]
        if chosen is not None:
            prompts = [prompts[i] for i in chosen]
        return generate(trained.model, trained.tokenizer, prompts, ANSWER_TOKENS, ASKED_AT_ONCE)

    def _kept(self, defence: str) -> Marks | None:
        """The training rows that a defence leaves; all for None."""
        if defence == UNGATED:
            return None
        if defence == CLEAN_ONLY:
            return ~np.array(self._mix.harmful, bool)
        return ~self._judged(defence).kept_out

    def _judged(self, method: str) -> Flags:
        if not is_known(method):
            raise DataError(f"there is no method {method} in this version")
        if method not in self._flags:
            run = RunFolder(self._folder / method)
            run.path.mkdir()
            self._flags[method] = self._bench.judge(self._folder / "train.jsonl", method, run)
        return self._flags[method]

    def _prepared(self, name: str, rows: Sequence[Exchange]) -> Path:
        """Tokenized samples.

        Raises:
            GradgateError: Not every row is a sample.
        """
        path = write_rows(self._folder / f"{name}.jsonl", (r.as_row(self._chat) for r in rows))
        folder = self._folder / f"prepared-{name}"
        folder.mkdir()
        data = self._bench.data(path)
        limit = self._bench.handle.limit(data.max_tokens)
        prepared = prepare(data, self._bench.handle.tokenizer(), limit, folder)
        if prepared.n_rejected:
            raise DataError(f"{prepared.n_rejected} of {prepared.n_rows} rows are no samples")
        return prepared.samples_path
