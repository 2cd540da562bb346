"""Scores of tokenized samples with one model.

Samples that share a prefix have it computed once (`tree_attention`). Where the model does not allow
that, they go through it in padded batches of similar length. Either way a step is a bounded number
of tokens; a step that does not fit into memory is halved, and so are all that follow.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from gradgate.config import ScoringConfig
from gradgate.errors import ModelError
from gradgate.models import LoadedModel
from gradgate.scoring.gradients import HeadGradients
from gradgate.scoring.head import padded_forward
from gradgate.scoring.memory import free_bytes, is_out_of_memory
from gradgate.scoring.prefixes import (
    Ints,
    Layout,
    Stretch,
    predicted_tokens,
    predicting_ids,
    predicting_positions,
    stretches,
)
from gradgate.scoring.reuse import why_not_shared
from gradgate.scoring.table import Score
from gradgate.scoring.tree_attention import Path, TreeForward
from gradgate.tokenization import Tokens

logger = logging.getLogger(__name__)

# Tokens of a step: more make nothing faster.
MOST_TOKENS = {"cpu": 4_096, "cuda": 16_384}
FEWEST_TOKENS = 16
# Float32 logits at a time; what is made of them takes about four times as much.
LOGITS_BYTES = {"cpu": 16 * 2**20, "cuda": 2**30}

T = TypeVar("T")
Item = TypeVar("Item")
Order = Literal["prefix", "length"]


@dataclass(frozen=True)
class _Step:
    """Samples that were scored together.

    Attributes:
        samples: B samples.
        values: Entropy, loss and gradient norm; still being computed on a GPU. Float64 (B, 3)
    """

    samples: list[Tokens]
    values: Tensor


class Scorer:
    """Scores tokenized samples with one model.

    Attributes:
        no_reuse: Why prefixes are not shared; None when they are.
        n_computed: Tokens that went through the model so far, padding not counted.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        config: ScoringConfig,
        longest: int | None = None,
        reuse: bool = True,
    ) -> None:
        """Take the model as it is; it must be in eval mode on its device.

        Args:
            loaded: The model.
            config: Mode, k and size of the steps.
            longest: Tokens of the longest sample that will come, when it is known.
            reuse: Share prefixes where the model allows it.

        Raises:
            ModelError: A token's hidden state depends on later tokens, so that no position
                predicts the token behind it.
        """
        self.loaded = loaded
        self.config = config
        self._gradients = HeadGradients(loaded, config)
        self.n_tokens = config.batch_tokens or _tokens_that_fit(loaded)
        self.logits_bytes = LOGITS_BYTES[loaded.device.type]
        self.n_computed = 0
        self._tree = TreeForward(loaded)
        self._check_causal()
        self.no_reuse = (
            why_not_shared(self.loaded, self._tree, longest) if reuse else "it was not asked for"
        )
        if self.no_reuse is not None:
            logger.warning("prefixes are not shared between samples: %s", self.no_reuse)

    @property
    def order(self) -> Order:
        """The order in which `run` wants its samples."""
        return "prefix" if self.no_reuse is None else "length"

    def score(
        self, samples: list[Tokens], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Score]:
        """Scores in the order given; they do not depend on it, nor on what is batched together.

        `on_done` hears the number of samples done after every step.
        """
        order = list(range(len(samples)))
        if self.order == "prefix":
            order.sort(key=lambda i: samples[i].input_ids)
        else:
            order.sort(key=lambda i: len(samples[i].input_ids))
        found: list[Score] = []
        for step in self.run(samples[i] for i in order):
            found += [score for _, score in step]
            on_done(len(found))
        by_index = dict(zip(order, found, strict=True))
        return [by_index[i] for i in range(len(samples))]

    def run(self, samples: Iterable[Tokens]) -> Generator[list[tuple[Tokens, Score]]]:
        """Score samples that come in `order`, step by step; they come out in the same order.

        A step is handed out when the next one was started, so that a GPU does not wait for whoever
        takes the scores.

        Raises:
            ModelError: Not even the smallest step fits into memory.
        """
        steps = self._tree_steps(samples) if self.no_reuse is None else self._padded_steps(samples)
        started: _Step | None = None
        for step in steps:
            if started is not None:
                yield self._scores(started)
            started = step
        if started is not None:
            yield self._scores(started)

    def _scores(self, step: _Step) -> list[tuple[Tokens, Score]]:
        lines = zip(step.samples, step.values.tolist(), strict=True)
        scores = [_line(len(predicting_positions(sample)), *value) for sample, value in lines]
        if self.no_reuse is None:
            self._score_alone(step.samples, scores)
        return list(zip(step.samples, scores, strict=True))

    def _score_alone(self, samples: list[Tokens], scores: list[Score]) -> None:
        """Score again what failed: beside a sample that is not finite, others are not either."""
        failed = [i for i, score in enumerate(scores) if score.loss is None]
        failed.sort(key=lambda i: len(samples[i].input_ids))
        at = iter(failed)
        for step in self._padded_steps(samples[i] for i in failed):
            for sample, value in zip(step.samples, step.values.tolist(), strict=True):
                scores[next(at)] = _line(len(predicting_positions(sample)), *value)

    def _tree_steps(self, samples: Iterable[Tokens]) -> Iterator[_Step]:
        path = Path()
        for stretch, layout in ahead(self._laid_out(samples)):
            todo = [(stretch, layout)]
            while todo:
                part, known = todo.pop()
                if len(part.tokens) > self.n_tokens:
                    todo += [(half, self._tree.lay_out(half)) for half in reversed(part.halves())]
                    continue
                computed = self._or_shrink(lambda: self._tree_step(part, known, path))  # noqa: B023
                if computed is None:
                    todo.append((part, known))
                    continue
                step, path = computed
                self.n_computed += len(part.tokens)
                if step.samples:
                    yield step

    def _laid_out(self, samples: Iterable[Tokens]) -> Iterator[tuple[Stretch, Layout]]:
        for stretch in stretches(samples, self.n_tokens):
            yield stretch, self._tree.lay_out(stretch)

    @torch.inference_mode()
    def _tree_step(self, stretch: Stretch, layout: Layout, path: Path) -> tuple[_Step, Path]:
        with self._tree.active():
            computed = self._tree.run(stretch, layout, path)
        samples = [finished.sample for finished in stretch.finished]
        return self._finish(samples, computed.hidden, layout.predicting), computed.path

    def _padded_steps(self, samples: Iterable[Tokens]) -> Iterator[_Step]:
        for batch in _batches(samples, self.n_tokens):
            todo = [batch]
            while todo:
                part = todo.pop()
                width = max(len(sample.input_ids) for sample in part)
                if len(part) > 1 and len(part) * width > self.n_tokens:
                    todo += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                step = self._or_shrink(lambda: self._padded_step(part))  # noqa: B023
                if step is None:
                    todo.append(part)
                    continue
                self.n_computed += sum(len(predicting_ids(sample)) for sample in part)
                yield step

    @torch.inference_mode()
    def _padded_step(self, samples: list[Tokens]) -> _Step:
        rows = [predicting_ids(sample) for sample in samples]
        hidden = padded_forward(self.loaded, rows)  # (B, L, d)
        width = hidden.shape[1]
        at = [row * width + predicting_positions(sample) for row, sample in enumerate(samples)]
        return self._finish(samples, hidden.flatten(0, 1), at)

    def _or_shrink(self, step: Callable[[], T]) -> T | None:
        """The result of a step; None, and smaller steps from now on, when it ran out of memory."""
        try:
            return step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.n_tokens // 2 < FEWEST_TOKENS:
                raise ModelError(
                    f"out of memory with {self.n_tokens} tokens at a time; make data.max_tokens "
                    "smaller, or free memory"
                ) from error
        self.n_tokens //= 2
        self.logits_bytes //= 2
        logger.warning("out of memory; going on with %d tokens at a time", self.n_tokens)
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _finish(self, samples: list[Tokens], hidden: Tensor, at: list[Ints]) -> _Step:
        """From what enters the head, at (M, d) positions, to the values of the samples."""
        targets = [predicted_tokens(sample) for sample in samples]
        return _Step(samples, self._gradients.values(hidden, at, targets, self.logits_bytes))

    @torch.inference_mode()
    def _check_causal(self) -> None:
        last = self.loaded.n_vocabulary - 1
        one, other = padded_forward(self.loaded, [[last, 0], [last, last // 2]])[:, 0].float()
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ModelError("the model looks at later tokens; use a causal language model")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made in a thread of its own while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _tokens_that_fit(loaded: LoadedModel) -> int:
    """Size of a step by free memory: a quarter of it for the widest layer's activations."""
    config = loaded.model.config.get_text_config().to_dict()
    inner = config.get("intermediate_size") or config.get("n_inner") or 4 * loaded.n_hidden
    each = loaded.dtype.itemsize * (12 * loaded.n_hidden + 4 * int(inner))
    fits = free_bytes(loaded.device) // 4 // each
    return max(FEWEST_TOKENS, min(fits, MOST_TOKENS[loaded.device.type]))


def _line(n_target_tokens: int, entropy: float, loss: float, norm: float) -> Score:
    if loss != loss or norm != norm:
        return Score(
            None, n_target_tokens, None, None, "failed", "the model's output is not finite"
        )
    if entropy != entropy:
        return Score(None, n_target_tokens, loss, norm, "failed", "the gradient vanishes")
    return Score(entropy, n_target_tokens, loss, norm, "scored", None)


def _batches(samples: Iterable[Tokens], n_tokens: int) -> Iterator[list[Tokens]]:
    """Cut samples of rising length into batches of at most `n_tokens` padded places, or one."""
    batch: list[Tokens] = []
    for sample in samples:
        if batch and (len(batch) + 1) * len(sample.input_ids) > n_tokens:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch
