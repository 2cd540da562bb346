"""Score every sample by the spectral entropy of its own output-layer gradient, forward only.

The model runs without its head on all positions: a hook takes the hidden states where they enter
the head and lets a single position through. The head is then applied to the supervised positions
only. The position that went through the model's own head checks that our logits are the model's
logits; a model that does anything unknown to them is an error and never a wrong score.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from gradgate.config import ScoringConfig
from gradgate.errors import ModelError
from gradgate.models import LoadedModel
from gradgate.prepare import Prepared, PreparedSample, iter_prepared
from gradgate.score_table import SCORE_SCHEMA, Score
from gradgate.spectrum import singular_values, spectral_entropy, token_loss
from gradgate.tokenization import Tokens

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # (rows done, rows in all)

WINDOW = 2_048  # samples sorted by length and written together; bounds the memory
# Float32 logits of a group; what is made of them takes about four times as much. A single sample
# may exceed it.
LOGITS_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}


@dataclass(frozen=True)
class ScoringSummary:
    """What a scoring run did; `seconds` covers scoring only, not loading the model."""

    n_rows: int
    n_unique: int
    n_failed: int
    n_tokens: int
    seconds: float

    @property
    def samples_per_second(self) -> float:
        """Rows of the table per second."""
        return self.n_rows / self.seconds


def score_dataset(
    prepared: Prepared,
    loaded: LoadedModel,
    config: ScoringConfig,
    output: Path,
    on_progress: Progress = lambda done, total: None,
) -> ScoringSummary:
    """Write the score table of a prepared dataset: one line per sample, in row order.

    Equal samples are scored once. Memory is bounded by `WINDOW` samples and the model, but for the
    scores of samples that occur more than once. The table appears under its name when it is whole.

    Args:
        prepared: The samples, tokenized.
        loaded: The model that scores.
        config: Mode, k and batch size.
        output: The Parquet file to write.
        on_progress: Called after every batch.

    Raises:
        ModelError: The model's logits are not those of a linear head.
    """
    started = time.perf_counter()
    scorer = Scorer(loaded, config)
    repeated = _repeated(prepared)
    known: dict[str, Score] = {}
    n_rows = n_failed = n_tokens = n_unique = 0
    part = output.with_name(output.name + ".part")
    schema = SCORE_SCHEMA.with_metadata(_metadata(prepared, loaded, config))
    try:
        with pq.ParquetWriter(part, schema) as writer:
            for window in iter_prepared(prepared.samples_path, WINDOW):
                fresh = _first_of_each(window, known)
                before = n_rows + len(window) - len(fresh)
                found = scorer.score(
                    [s.tokens for s in fresh.values()],
                    partial(_report, on_progress, before, prepared.n_samples),
                )
                scores = dict(zip(fresh, found, strict=True))
                lines = [scores.get(s.sample_id) or known[s.sample_id] for s in window]
                known.update((i, score) for i, score in scores.items() if i in repeated)
                writer.write_table(_table(window, lines))
                n_rows += len(window)
                n_unique += len(fresh)
                n_failed += sum(line.status != "scored" for line in lines)
                n_tokens += sum(len(s.tokens.input_ids) for s in fresh.values())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    summary = ScoringSummary(n_rows, n_unique, n_failed, n_tokens, time.perf_counter() - started)
    logger.info(
        "scored %d rows (%d distinct, %d failed) at %.1f rows/s",
        n_rows, n_unique, n_failed, summary.samples_per_second,
    )  # fmt: skip
    return summary


def _report(on_progress: Progress, before: int, total: int, done: int) -> None:
    on_progress(before + done, total)


def _repeated(prepared: Prepared) -> set[str]:
    """Ids that occur more than once."""
    if prepared.n_unique == prepared.n_samples:
        return set()
    ids = pq.read_table(prepared.samples_path, columns=["sample_id"])
    counts = ids.group_by("sample_id").aggregate([("sample_id", "count")])
    several = counts.filter(pc.greater(counts["sample_id_count"], 1))
    return set(several["sample_id"].to_pylist())


def _first_of_each(
    window: list[PreparedSample], known: dict[str, Score]
) -> dict[str, PreparedSample]:
    fresh: dict[str, PreparedSample] = {}
    for sample in window:
        if sample.sample_id not in known:
            fresh.setdefault(sample.sample_id, sample)
    return fresh


def _metadata(prepared: Prepared, loaded: LoadedModel, config: ScoringConfig) -> dict[str, str]:
    facts = {
        "mode": config.mode,
        "k": config.k,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": loaded.device.type,
        "dataset_fingerprint": prepared.fingerprint,
        **{f"model_{name}": value for name, value in loaded.identity.items()},
    }
    return {f"gradgate.{name}": str(value) for name, value in facts.items() if value is not None}


def _table(window: list[PreparedSample], lines: list[Score]) -> pa.Table:
    rows = [
        {"row": sample.row, "sample_id": sample.sample_id, **asdict(line)}
        for sample, line in zip(window, lines, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCORE_SCHEMA)


class Scorer:
    """Scores tokenized samples with one model, in batches of similar length."""

    def __init__(self, loaded: LoadedModel, config: ScoringConfig) -> None:
        """Take the model as it is; it must be in eval mode on its device.

        Raises:
            ModelError: A token's hidden state depends on later tokens, so that no position
                predicts the token behind it.
        """
        self.loaded = loaded
        self.config = config
        crop = config.mode == "crop"
        self.n_columns = max(1, loaded.n_vocabulary // 8) if crop else loaded.n_vocabulary
        self.n_hidden = max(1, loaded.n_hidden // 8) if crop else loaded.n_hidden
        self._check_causal()

    def score(
        self, samples: list[Tokens], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Score]:
        """Scores in the order given; they do not depend on it, nor on what is batched together.

        `on_done` hears the number of samples done after every batch.
        """
        scores: dict[int, Score] = {}
        lengths = [len(tokens.input_ids) for tokens in samples]
        order = sorted(range(len(samples)), key=lambda i: lengths[i])
        for batch in _groups(order, lengths, self.config.batch_tokens):
            found = self._score_or_advise([samples[i] for i in batch])
            scores.update(zip(batch, found, strict=True))
            on_done(len(scores))
        return [scores[i] for i in range(len(samples))]

    def _score_or_advise(self, batch: list[Tokens]) -> list[Score]:
        try:
            return self._score_batch(batch)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"out of memory with {len(batch)} samples in a batch; make scoring.batch_tokens "
                f"({self.config.batch_tokens}) or data.max_tokens smaller"
            ) from error

    @torch.inference_mode()
    def _check_causal(self) -> None:
        last = self.loaded.n_vocabulary - 1
        ids = torch.tensor([[last, 0], [last, last // 2]], device=self.loaded.device)
        one, other = self._hidden_states(ids, torch.tensor([2, 2], device=ids.device))[:, 0].float()
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ModelError("the model looks at later tokens; use a causal language model")

    @torch.inference_mode()
    def _score_batch(self, batch: list[Tokens]) -> list[Score]:
        ids, length = _pad([tokens.input_ids for tokens in batch], self.loaded.device)
        hidden = self._hidden_states(ids, length)
        positions = [_predicting_positions(tokens) for tokens in batch]
        scores: dict[int, Score] = {}
        order = sorted(range(len(batch)), key=lambda i: len(positions[i]))
        budget = LOGITS_BYTES[self.loaded.device.type] // (4 * self.loaded.n_vocabulary)
        for group in _groups(order, [len(p) for p in positions], budget):
            chosen = [positions[i] for i in group]
            scores.update(zip(group, self._score_group(hidden, ids, group, chosen), strict=True))
        return [scores[i] for i in range(len(batch))]

    def _hidden_states(self, ids: Tensor, length: Tensor) -> Tensor:
        """Run the model up to its head: (B, L) ids -> (B, L, d)."""
        mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        with _taking_head_input(self.loaded.head) as taken:
            output = self.loaded.model(
                input_ids=ids, attention_mask=mask.long(), use_cache=False, return_dict=True
            )
        if len(taken) != 1 or taken[0].shape[:2] != ids.shape:
            raise ModelError("the model does not apply its head once to every position")
        hidden = taken[0]
        ours = self._logits(hidden[-1:, -1:])
        _check_same(ours, output.logits.float(), self.loaded.dtype)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.loaded.transform(self.loaded.head(hidden).float())

    def _score_group(
        self, hidden: Tensor, ids: Tensor, group: list[int], positions: list[list[int]]
    ) -> list[Score]:
        at, lengths = _pad(positions, ids.device)  # (B, T), (B,)
        mask = torch.arange(at.shape[1], device=ids.device) < lengths[:, None]
        member = torch.tensor(group, device=ids.device)[:, None]
        states = hidden[member, at]  # (B, T, d)
        found = token_loss(
            self._logits(states), ids[member, at + 1], mask, self.n_columns, self.loaded.transform
        )
        states = states[..., : self.n_hidden].float() * mask[..., None]
        sigma = singular_values(found.delta, states, lengths, max(self.config.k, at.shape[1]))
        entropy = spectral_entropy(sigma[:, : self.config.k])
        norm = sigma.square().sum(dim=-1).sqrt()
        loss = found.loss.double().sum(dim=-1) / lengths
        values = torch.stack([entropy, loss, norm], dim=-1).tolist()
        return [_line(len(p), *v) for v, p in zip(values, positions, strict=True)]


def _line(n_target_tokens: int, entropy: float, loss: float, norm: float) -> Score:
    if loss != loss or norm != norm:
        return Score(
            None, n_target_tokens, None, None, "failed", "the model's output is not finite"
        )
    if entropy != entropy:
        return Score(None, n_target_tokens, loss, norm, "failed", "the gradient vanishes")
    return Score(entropy, n_target_tokens, loss, norm, "scored", None)


def _predicting_positions(tokens: Tokens) -> list[int]:
    """Positions whose output predicts a supervised token."""
    return [i - 1 for i, target in enumerate(tokens.is_target) if target and i > 0]


def _pad(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-pad with zeros: causal attention never looks there. Returns (B, L) and lengths (B,)."""
    lengths = [len(row) for row in rows]
    width = max(lengths)
    padded = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return padded.to(device), torch.tensor(lengths).to(device)


def _groups(order: Iterable[int], lengths: list[int], budget: int) -> Iterator[list[int]]:
    """Cut an order of rising length into groups of at most `budget` padded places, or one item."""
    group: list[int] = []
    for i in order:
        if group and (len(group) + 1) * lengths[i] > budget:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


@contextmanager
def _taking_head_input(head: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what enters the head and let only the last position of the longest sample through."""
    taken: list[Tensor] = []

    def take(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        taken.append(args[0])
        return (args[0][-1:, -1:], *args[1:])

    handle = head.register_forward_pre_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


def _check_same(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    same = torch.isclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    if ours.shape != theirs.shape or not bool(same.all()):
        raise ModelError(
            "the model's logits are not those of its head: it changes them in a way that is not "
            "known here (known: scaling and soft-capping), so no score would be right"
        )
