"""Samples go through the model, up to its head, in steps that fit into memory.

Samples that share a prefix have it computed once (`prefix_tree`). Where the model does not allow
that, they go through it in padded batches of similar length. Either way a step is a bounded number
of tokens; a step that does not fit into memory is halved, and so are all that follow.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from gradgate.common.arrays import Ints
from gradgate.data.tokens import Tokens
from gradgate.gradients.exact import exact
from gradgate.gradients.head_input import HeadInput, padded_input
from gradgate.gradients.logits import NextTokens
from gradgate.gradients.memory import Budget
from gradgate.gradients.predicting import given_positions, predicting_ids, predicting_positions
from gradgate.gradients.prefix_tree.given import given_logp
from gradgate.gradients.prefix_tree.layout import Layout
from gradgate.gradients.prefix_tree.stretches import Stretch, stretches
from gradgate.gradients.prefix_tree.tree_attention import PrefixState
from gradgate.gradients.prefix_tree.tree_forward import Computed, TreeForward
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel

Item = TypeVar("Item")


@dataclass(frozen=True)
class Passed:
    """Samples that went through the model.

    Attributes:
        samples: B samples.
        states: What enters the head at their predicting positions, sample by sample. (n, d)
        given_logp: ln p of their given tokens (`predicting.given_positions`), sample by sample;
            float32 (G,).
        is_linear: Whether the model's logits are those of its head, of each step. (any number,)
    """

    samples: list[Tokens]
    states: Tensor
    given_logp: Tensor
    is_linear: Tensor


class Forward:
    """Runs samples through a model.

    Attributes:
        tokens: Of a step.
        n_computed: Tokens that went through the model so far, padding not counted.
    """

    def __init__(
        self, loaded: LoadedModel, tree: TreeForward, tokens: Budget, next_tokens: NextTokens
    ) -> None:
        """Take the model as it is."""
        self.tokens = tokens
        self.n_computed = 0
        self._loaded = loaded
        self._tree = tree
        self._next_tokens = next_tokens

    def shared(self, samples: Iterable[Tokens]) -> Iterator[Passed]:
        """Run samples that come in the order of their token ids; shared prefixes once.

        Raises:
            ModelError: Not even the smallest step fits into memory.
        """
        state = PrefixState()
        for item in _ahead(self._laid_out(samples)):
            todo = [item]
            while todo:
                stretch, layout = todo.pop()
                if len(stretch.tokens) > self.tokens.size:
                    halves = [(half, self._tree.lay_out(half)) for half in stretch.halves()]
                    todo += reversed(halves)
                    continue
                computed = self.tokens.attempt(self._tree_step, stretch, layout, state)
                if computed is None:
                    todo.append((stretch, layout))
                    continue
                logp, state = given_logp(layout, state, computed, self._next_tokens)
                self.n_computed += len(stretch.tokens)
                samples = [finished.sample for finished in stretch.finished]
                states = _rows(computed.hidden, layout.predicting)
                yield Passed(samples, states, logp, computed.is_linear[None])

    def _laid_out(self, samples: Iterable[Tokens]) -> Iterator[tuple[Stretch, Layout]]:
        for stretch in stretches(samples, self.tokens.size):
            yield stretch, self._tree.lay_out(stretch)

    @exact
    def _tree_step(self, stretch: Stretch, layout: Layout, state: PrefixState) -> Computed:
        with self._tree.active():
            return self._tree.run(stretch, layout, state)

    def padded(self, samples: Iterable[Tokens]) -> Iterator[Passed]:
        """Run samples that come by rising length, each for itself.

        Raises:
            ModelError: Not even the smallest step fits into memory.
        """
        for batch in _batches(samples, self.tokens.size):
            todo = [batch]
            while todo:
                part = todo.pop()
                width = max(len(sample.input_ids) for sample in part)
                if len(part) > 1 and len(part) * width > self.tokens.size:
                    todo += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                found = self.tokens.attempt(self._padded_step, part)
                if found is None:
                    todo.append(part)
                    continue
                self.n_computed += sum(len(predicting_ids(sample)) for sample in part)
                yield self._passed(part, found)

    @exact
    def _padded_step(self, samples: list[Tokens]) -> HeadInput:
        return padded_input(self._loaded, [predicting_ids(sample) for sample in samples])

    @exact
    def _passed(self, samples: list[Tokens], found: HeadInput) -> Passed:
        """What a padded step gives."""
        hidden = found.hidden  # (B, L, d)
        starts, flat = range(0, hidden[..., 0].numel(), hidden.shape[1]), hidden.flatten(0, 1)
        at = [start + predicting_positions(s) for start, s in zip(starts, samples, strict=True)]
        given = [given_positions(sample) for sample in samples]
        above = [start + positions - 1 for start, positions in zip(starts, given, strict=True)]
        ids = [np.asarray(s.input_ids)[some] for s, some in zip(samples, given, strict=True)]
        tokens = upload(np.concatenate(ids), hidden.device)
        logp = flat.new_empty(0, dtype=torch.float32)
        if len(tokens):
            logp = self._next_tokens.log_probabilities(_rows(flat, above), tokens)
        return Passed(samples, _rows(flat, at), logp, found.is_linear[None])


def _rows(hidden: Tensor, at: list[Ints]) -> Tensor:
    where = np.concatenate(at) if at else np.empty(0, dtype=np.int64)
    return hidden[upload(where, hidden.device)]


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made in a thread of its own while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


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
