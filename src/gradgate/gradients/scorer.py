"""Scores of tokenized samples with one model."""

import logging
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.evenness import evenness
from gradgate.gradients.exact import exact
from gradgate.gradients.factors import SafetyGradient
from gradgate.gradients.forward import Forward, Passed
from gradgate.gradients.head_input import padded_forward, require_linear
from gradgate.gradients.logits import NextTokens, Room
from gradgate.gradients.memory import Budget, free_bytes
from gradgate.gradients.prefix_tree.sharing import why_not_shared
from gradgate.gradients.prefix_tree.tree_forward import TreeForward
from gradgate.gradients.score import Score
from gradgate.gradients.token_logp import token_logp
from gradgate.gradients.values import HeadGradients, Values
from gradgate.models.loading import LoadedModel

logger = logging.getLogger(__name__)

# Tokens of a step, where memory allows: more make nothing faster. A processor is fastest while the
# widest activation stays in its cache.
MAX_STEP_TOKENS = {"cpu": 4_096, "cuda": 16_384}
CACHED_TOKENS = 1_024
CACHED_BYTES = 8 * 2**20
MIN_STEP_TOKENS = 16
# Float32 logits at a time; their derivatives take about as much again.
LOGITS_BYTES = {"cpu": 128 * 2**20, "cuda": 2**30}
MIN_LOGITS_BYTES = 2**20

# Steps whose samples wait for the head, so that it takes many positions at once.
STEPS_TOGETHER = 8
Order = Literal["prefix", "length"]


@dataclass(frozen=True)
class _Batch:
    """Samples that were scored together.

    Attributes:
        samples: B samples.
        values: Theirs; still being computed on a GPU.
        given_logp: As in `Passed`.
        is_linear: As in `Passed`.
    """

    samples: list[Tokens]
    values: Values
    given_logp: Tensor
    is_linear: Tensor


class Scorer:
    """Scores tokenized samples with one model.

    Attributes:
        unshared_because: Why prefixes are not shared; None when they are.
        forward: Runs the samples through the model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        config: ScoringConfig,
        longest: int | None = None,
        share_prefixes: bool = True,
        safety: SafetyGradient | None = None,
    ) -> None:
        """Take the model as it is; it must be in eval mode on its device.

        Args:
            loaded: The model.
            config: k and size of the steps.
            longest: Tokens of the longest sample that will come, when it is known.
            share_prefixes: Compute a prefix once for all samples that have it, if the model can.
            safety: Of a probing set; each score then says how the sample stands to it.

        Raises:
            ModelError: A token's hidden state depends on later tokens, so that no position
                predicts the token behind it.
        """
        tree = TreeForward(loaded)
        self.loaded = loaded
        self.unshared_because: str | None = "it was not asked for"
        self._check_causal()
        if share_prefixes:
            self.unshared_because = why_not_shared(loaded, tree, longest)
        if self.unshared_because is not None:
            logger.warning("prefixes are not shared between samples: %s", self.unshared_because)
        step = config.batch_tokens or _step_tokens(loaded)
        logits = LOGITS_BYTES[loaded.device.type]
        self._logits = Budget(logits, MIN_LOGITS_BYTES, "bytes of logits")
        room = Room()
        self.forward = Forward(
            loaded,
            tree,
            Budget(step, MIN_STEP_TOKENS, "tokens"),
            NextTokens(loaded, self._logits),
        )
        self._k = config.k
        self._gradients = HeadGradients(loaded, config.k, room, safety)

    @property
    def order(self) -> Order:
        """The order in which `run` wants its samples."""
        return "prefix" if self.unshared_because is None else "length"

    def score(
        self, samples: list[Tokens], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Score]:
        """Scores in the order given; they do not depend on it, nor on the batches.

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
        """Score samples that come in `order`, batch by batch; they come out in the same order.

        On a GPU a batch is handed out when the next one was started, and it goes on while the
        scores are written; on a CPU at once, so that a crash loses one batch only.

        Raises:
            DataError: A sample has no supervised token.
            ModelError: Not even the smallest step fits into memory, or the model changes its
                logits.
        """
        started: _Batch | None = None
        for passed in self._gathered(self.passed(samples)):
            coming = self._evaluate(passed)
            if self.loaded.device.type == "cpu":
                yield self._scores(coming)
                continue
            if started is not None:
                yield self._scores(started)
            started = coming
        if started is not None:
            yield self._scores(started)

    def passed(self, samples: Iterable[Tokens]) -> Iterator[Passed]:
        """Run samples that come in `order` up to the head; errors as for `run`."""
        if self.unshared_because is None:
            return self.forward.shared(samples)
        return self.forward.padded(samples)

    def _gathered(self, steps: Iterator[Passed]) -> Iterator[Passed]:
        """Put steps together until there are enough positions for the head."""
        together: list[Passed] = []
        enough = self._logits.size // (4 * self.loaded.n_vocabulary)
        for step in steps:
            together.append(step)
            if len(together) == STEPS_TOGETHER or sum(len(s.states) for s in together) >= enough:
                yield _joined(together)
                together = []
        if together:
            yield _joined(together)

    def _evaluate(self, passed: Passed) -> _Batch:
        values = None
        while values is None:
            values = self._logits.attempt(self._values, passed)
        return _Batch(passed.samples, values, passed.given_logp, passed.is_linear)

    @exact
    def _values(self, passed: Passed) -> Values:
        return self._gradients.values(passed.samples, passed.states, self._logits.size)

    def _scores(self, batch: _Batch) -> list[tuple[Tokens, Score]]:
        scores = self._lines(batch)
        if self.unshared_because is None:
            self._score_alone(batch.samples, scores)
        return list(zip(batch.samples, scores, strict=True))

    def _lines(self, batch: _Batch) -> list[Score]:
        require_linear(batch.is_linear)
        sketches = batch.values.sketches.cpu().numpy().astype("<f2")
        losses, given = batch.values.losses.cpu().numpy(), batch.given_logp.cpu().numpy()
        side = min(self.loaded.n_vocabulary, self.loaded.n_hidden)
        safety = batch.values.safety
        safe = repeat(None) if safety is None else iter(safety.cpu().numpy().astype("<f8"))
        lines = []
        for sample, found, sketch in zip(
            batch.samples, batch.values.numbers.tolist(), sketches, strict=True
        ):
            logp, n_targets, n_given = token_logp(sample, losses, given)
            losses, given = losses[n_targets:], given[n_given:]
            line = _line(n_targets, found, sketch, logp, self._k, side)
            lines.append(_with_safety(line, next(safe)))
        return lines

    def _score_alone(self, samples: list[Tokens], scores: list[Score]) -> None:
        """Score failed samples again: beside one that is not finite, others are not either."""
        failed = [i for i, score in enumerate(scores) if score.loss is None]
        failed.sort(key=lambda i: len(samples[i].input_ids))
        at = iter(failed)
        try:
            for passed in self.forward.padded(samples[i] for i in failed):
                for score in self._lines(self._evaluate(passed)):
                    scores[next(at)] = score
        except ModelError as error:  # too long to go through in one piece: it stays failed
            logger.warning("samples that failed could not be tried alone: %s", error)

    @exact
    def _check_causal(self) -> None:
        last = self.loaded.n_vocabulary - 1
        one, other = padded_forward(self.loaded, [[last, 0], [last, last // 2]])[:, 0].float()
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ModelError("the model looks at later tokens; use a causal language model")


def _joined(steps: list[Passed]) -> Passed:
    samples = [sample for step in steps for sample in step.samples]
    states = torch.cat([step.states for step in steps])
    logp = torch.cat([step.given_logp for step in steps])
    return Passed(samples, states, logp, torch.cat([step.is_linear for step in steps]))


def _step_tokens(loaded: LoadedModel) -> int:
    """Size of a step: a quarter of the free memory for one layer's activations, at most."""
    each = loaded.dtype.itemsize * (12 * loaded.n_hidden + 4 * _inner(loaded))
    most = free_bytes(loaded.device) // 4 // each
    return max(MIN_STEP_TOKENS, min(usual_step_tokens(loaded), most))


def usual_step_tokens(loaded: LoadedModel) -> int:
    """Size of a step where there is memory enough: the same on all machines of a kind."""
    if loaded.device.type != "cpu":
        return MAX_STEP_TOKENS[loaded.device.type]
    cached = CACHED_BYTES // (loaded.dtype.itemsize * _inner(loaded))
    return min(MAX_STEP_TOKENS["cpu"], max(CACHED_TOKENS, cached))


def _inner(loaded: LoadedModel) -> int:
    """Width of the widest activation of a layer."""
    config = loaded.model.config.get_text_config().to_dict()
    inner = config.get("intermediate_size") or config.get("n_inner") or 4 * loaded.n_hidden
    return max(inner) if isinstance(inner, list) else int(inner)  # one for each layer, or for all


def _line(
    n_target_tokens: int,
    found: list[float],
    sketch: npt.NDArray[np.float16],
    logp: bytes | None,
    k: int,
    smallest_side: int,
) -> Score:
    crop, full, loss, norm = found
    is_finite = math.isfinite(loss) and math.isfinite(norm) and bool(np.isfinite(sketch).all())
    if logp is None or not is_finite:
        why = "the model's output is not finite"
        return Score(None, None, None, n_target_tokens, None, None, None, None, "failed", why)
    if math.isnan(full):
        why = "the gradient vanishes"
        return Score(None, None, None, n_target_tokens, loss, norm, None, logp, "failed", why)
    there = None if math.isnan(crop) else crop
    even = evenness(full, n_target_tokens, k, smallest_side)
    packed = sketch.tobytes()
    return Score(there, full, even, n_target_tokens, loss, norm, packed, logp, "scored", None)


def _with_safety(score: Score, safety: npt.NDArray[np.float64] | None) -> Score:
    """A score with what was found against a probing set; failed where that is not finite."""
    if safety is None or score.status != "scored":
        return score
    if not np.isfinite(safety).all():
        n, why = score.n_target_tokens, "its place against the probing set is not finite"
        return Score(None, None, None, n, None, None, None, None, "failed", why)
    return replace(score, safety=safety.tobytes())
