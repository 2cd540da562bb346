"""The score table of a dataset, from the score store as far as it knows the samples.

The table is put together from the store alone. What the store does not know goes onto a worklist
and is scored into the store, step by step, so that whatever breaks a run off, the next run begins
where it ended. What needs all samples at once, gradient recurrence, is added to a draft of it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from gradgate.common.files import put_in_place, work_folder
from gradgate.config import ScoringConfig
from gradgate.data.prepare import Prepared, iter_prepared
from gradgate.data.tokens import Tokens, content_digest
from gradgate.errors import StoreError
from gradgate.gradients.safety import SafetySource
from gradgate.gradients.scorer import Scorer
from gradgate.models.identity import IdentifiedModel
from gradgate.scoring.backends.spread import Spread
from gradgate.scoring.context import score_context
from gradgate.scoring.draft import Draft, TableRow
from gradgate.scoring.extent import check_within
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.worklist import Worklist, open_worklist

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # (rows done, rows in all)

WINDOW = 2_048  # rows that are looked up and written together
_ROUNDS = 3  # other processes may take rows out of a store that is too small for all


@dataclass(frozen=True)
class ScoringSummary:
    """What a scoring run did; `seconds` covers loading the model, when that was necessary.

    Attributes:
        n_rows: Rows of the table.
        n_unique: Distinct samples among them.
        n_scored: Samples that were scored in this run.
        n_reused: Rows whose score was known before.
        n_failed: Rows without a score.
        n_tokens: Tokens of the samples that were scored in this run.
        n_computed_tokens: Tokens of them that went through the model: a shared prefix counts once.
        no_reuse: Why prefixes were not shared; None when they were, or nothing was scored.
    """

    n_rows: int
    n_unique: int
    n_scored: int
    n_reused: int
    n_failed: int
    n_tokens: int
    n_computed_tokens: int
    no_reuse: str | None
    seconds: float

    @property
    def samples_per_second(self) -> float:
        """Rows of the table per second."""
        return self.n_rows / self.seconds


def score_dataset(
    prepared: Prepared,
    model: IdentifiedModel,
    config: ScoringConfig,
    output: Path,
    store_path: Path | None = None,
    on_progress: Progress = lambda done, total: None,
    probes: SafetySource | None = None,
    spread: Spread | None = None,
) -> ScoringSummary:
    """Write the score table of a prepared dataset: one line per sample, in row order.

    Memory is bounded by the model and the size of a step. The table appears under its name when it
    is whole.

    Args:
        prepared: The samples, tokenized.
        model: The model that scores; it is loaded when there is something to score.
        config: Mode, k and size of the steps.
        output: The Parquet file to write.
        store_path: The score store; None for one that is thrown away afterwards.
        on_progress: Called after every step.
        probes: What the samples are held against; its gradient is taken when something is scored.
        spread: The workers that score; None for this process.

    Raises:
        ModelError: The model cannot be loaded, or its logits are not those of a linear head.
        StoreError: The store cannot be used, or its disk is full; what was scored is kept.
    """
    started = time.perf_counter()
    run = _Run(prepared, model, config, on_progress, probes)
    context = score_context(model, config, probes)
    with (
        work_folder(output) as folder,
        ScoreStore(store_path or folder / "scores.db", context) as store,
        ExitStack() as held,
    ):
        if spread is not None:
            shared = held.enter_context(spread.shared(prepared, context))
            run.spread_over(spread, shared)
            spread.recover(shared, store)
        run.to_the_end(store, folder, output)
        _keep_within(store, config.store_max_mib)
    summary = run.summary(time.perf_counter() - started)
    logger.info(
        "%d rows (%d distinct, %d failed): %d samples scored, %d rows known before, %.1f rows/s",
        *(summary.n_rows, summary.n_unique, summary.n_failed, summary.n_scored),
        *(summary.n_reused, summary.samples_per_second),
    )
    return summary


def _keep_within(store: ScoreStore, max_mib: int | None) -> None:
    """Housekeeping: that it failed does not make the table wrong."""
    if max_mib is None:
        return
    try:
        n_rows = store.evict(max_mib * 2**20)
    except StoreError:
        logger.exception("the score store could not be kept within %d MiB", max_mib)
        return
    if n_rows:
        logger.warning(
            "%d rows were dropped from the score store, to keep it within %d MiB "
            "(scoring.store_max_mib)",
            n_rows,
            max_mib,
        )


class _Run:
    """One scoring run, with what it counts."""

    def __init__(
        self,
        prepared: Prepared,
        model: IdentifiedModel,
        config: ScoringConfig,
        on_progress: Progress,
        probes: SafetySource | None,
    ) -> None:
        self._prepared = prepared
        self._model = model
        self._config = config
        self._on_progress = on_progress
        self._probes = probes
        self._n_missing = self._n_scored = self._n_failed = 0
        self._n_tokens = self._n_computed = 0
        self._first_missing: int | None = None
        self._no_reuse: str | None = None
        self._workers: tuple[Spread, ShardFolder] | None = None

    def spread_over(self, spread: Spread, folder: ShardFolder) -> None:
        """Let the workers of a backend score."""
        self._workers = spread, folder

    def to_the_end(self, store: ScoreStore, folder: Path, output: Path) -> None:
        """Score what the store does not know, until the table can be written."""
        for attempt in range(_ROUNDS):
            with open_worklist() as worklist, Draft(folder, self._config.mode) as draft:
                self._look_up(store, worklist, draft, retry_failed=attempt == 0)
                if self._n_missing:
                    self._score(store, worklist)
            if self._n_missing == 0:
                self._n_failed = draft.n_failed
                draft.write(folder / output.name, self._metadata())
                put_in_place(folder / output.name, output)
                self._on_progress(self._prepared.n_samples, self._prepared.n_samples)
                return
        raise StoreError(
            f"scores vanish from {store.path} as soon as they are written: is it too small "
            "(scoring.store_max_mib), or does somebody delete from it?"
        )

    def _look_up(
        self, store: ScoreStore, worklist: Worklist, draft: Draft, retry_failed: bool
    ) -> None:
        """Draft the table as long as the store knows every sample; put others on the list."""
        self._n_missing = 0
        for window in iter_prepared(self._prepared.samples_path, WINDOW):
            keys = [content_digest(sample.tokens) for sample in window]
            known = store.get(keys)
            if retry_failed:
                known = {k: score for k, score in known.items() if score.status == "scored"}
            missing = [s for s, key in zip(window, keys, strict=True) if key not in known]
            worklist.add(sample.tokens for sample in missing)
            self._n_missing += len(missing)
            if self._n_missing == 0:
                rows = [
                    TableRow(one.row, one.sample_id, len(one.tokens.input_ids), key)
                    for one, key in zip(window, keys, strict=True)
                ]
                draft.add(rows, [known[key] for key in keys])
        if self._first_missing is None:
            self._first_missing = self._n_missing

    def _score(self, store: ScoreStore, worklist: Worklist) -> None:
        """Score what is on the list into the store."""
        total = self._prepared.n_samples
        known = total - self._n_missing
        self._on_progress(known, total)
        if self._workers is not None:
            self._score_elsewhere(store, worklist, known)
            return
        loaded = self._model.load()
        check_within(self._prepared.samples_path, loaded)
        safety = None if self._probes is None else self._probes.build(loaded)
        scorer = Scorer(loaded, self._config, worklist.longest(), safety=safety)
        self._no_reuse = scorer.unshared_because
        done = 0
        # closed, so that nothing reads ahead any more when the worklist is deleted
        with closing(scorer.run(worklist.samples(scorer.order))) as steps:
            for step in steps:
                store.put({content_digest(sample): score for sample, score in step})
                done += len(step)
                self._n_tokens += sum(len(sample.input_ids) for sample, _ in step)
                self._on_progress(known + done, total)
        self._n_scored += done
        self._n_computed += scorer.forward.n_computed

    def _score_elsewhere(self, store: ScoreStore, worklist: Worklist, known: int) -> None:
        """The same by the workers of a backend."""
        assert self._workers is not None
        spread, folder = self._workers
        done = 0
        samples = self._counted(worklist.samples("prefix"))
        for published in spread.score(folder, samples, self._prepared, store):
            done += published.n_samples
            self._n_computed += published.n_computed_tokens
            self._on_progress(known + done, self._prepared.n_samples)
        self._n_scored += done

    def _counted(self, samples: Iterator[Tokens]) -> Iterator[Tokens]:
        for sample in samples:
            self._n_tokens += len(sample.input_ids)
            yield sample

    def _metadata(self) -> dict[str, str]:
        facts = {
            "mode": self._config.mode,
            "k": self._config.k,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "device": self._model.device.type,
            "dataset_fingerprint": self._prepared.fingerprint,
            "probes_sha256": None if self._probes is None else self._probes.digest,
            **{f"model_{name}": value for name, value in self._model.identity.items()},
        }
        return {f"gradgate.{name}": str(v) for name, v in facts.items() if v is not None}

    def summary(self, seconds: float) -> ScoringSummary:
        """What was counted."""
        n_rows = self._prepared.n_samples
        return ScoringSummary(
            n_rows=n_rows,
            n_unique=self._prepared.n_unique,
            n_scored=self._n_scored,
            n_reused=n_rows - (self._first_missing or 0),
            n_failed=self._n_failed,
            n_tokens=self._n_tokens,
            n_computed_tokens=self._n_computed,
            no_reuse=self._no_reuse,
            seconds=seconds,
        )
