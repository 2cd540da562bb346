"""What the gradient of the head says about each sample: entropy, loss and norm."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gradgate.config import ScoringConfig
from gradgate.models import LoadedModel
from gradgate.scoring.head import Block, HeadBackward
from gradgate.scoring.prefixes import Ints, predicted_tokens
from gradgate.scoring.spectrum import products, spectral_entropy
from gradgate.tokenization import Tokens


class HeadGradients:
    """The scored block of the gradient of the head's weight, for samples of one model."""

    def __init__(self, loaded: LoadedModel, config: ScoringConfig) -> None:
        """Take mode and k from `config`."""
        crop = config.mode == "crop"
        self._vocabulary = loaded.n_vocabulary
        self._k = config.k
        self._n_columns = max(1, loaded.n_vocabulary // 8) if crop else loaded.n_vocabulary
        self._n_hidden = max(1, loaded.n_hidden // 8) if crop else loaded.n_hidden
        self._backward = HeadBackward(loaded, self._n_columns)

    def values(self, samples: list[Tokens], states: Tensor, max_bytes: int) -> Tensor:
        """Entropy, loss and gradient norm of B samples, without waiting for a GPU: (B, 3).

        Args:
            samples: B samples.
            states: What enters the head at their predicting positions, sample by sample. (n, d)
            max_bytes: Of float32 logits at a time.
        """
        targets = [predicted_tokens(sample) for sample in samples]
        lengths = np.array([len(some) for some in targets])
        ends = lengths.cumsum()
        values = torch.empty(len(samples), 3, dtype=torch.float64, device=states.device)
        most = max(1, max_bytes // (4 * self._vocabulary))
        for group in _groups(lengths, most):
            rows = np.concatenate([np.arange(ends[i] - lengths[i], ends[i]) for i in group])
            wanted = np.concatenate([targets[i] for i in group])
            values[group] = self._values(
                states[_on(states, rows)], _on(states, wanted), lengths[group], max_bytes
            )
        return values

    def _values(self, states: Tensor, targets: Tensor, lengths: Ints, max_bytes: int) -> Tensor:
        """For samples by rising T, one behind the other: (B, 3)."""
        blocks = list(_blocks(states[:, : self._n_hidden], lengths))
        losses = self._backward.run(states, targets, blocks, max_bytes)
        return torch.cat([self._block_values(block, losses[block.rows]) for block in blocks])

    def _block_values(self, block: Block, losses: Tensor) -> Tensor:
        found = block.products.spectrum(block.lengths, self._n_columns, self._k)
        loss = torch.zeros_like(found.norm).index_add_(0, block.sample, losses)
        entropy = spectral_entropy(found.sigma)
        return torch.stack([entropy, loss / block.lengths, found.norm], dim=-1)


def _groups(lengths: Ints, most: int) -> Iterator[list[int]]:
    """By rising T, at most `most` positions together, or one sample."""
    group: list[int] = []
    size = 0
    for i in np.argsort(lengths, kind="stable").tolist():
        if group and size + lengths[i] > most:
            yield group
            group, size = [], 0
        group.append(i)
        size += int(lengths[i])
    if group:
        yield group


def _blocks(hidden: Tensor, lengths: Ints) -> Iterator[Block]:
    """Cut samples by rising T into blocks of about equal T, so that little of them is padding."""
    ends = lengths.cumsum()
    first = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or 2 * lengths[i] > 3 * lengths[first] + 16:
            rows = slice(int(ends[first] - lengths[first]), int(ends[i - 1]))
            yield _block(hidden, rows, lengths[first:i])
            first = i


def _block(hidden: Tensor, rows: slice, lengths: Ints) -> Block:
    sample = np.repeat(np.arange(len(lengths)), lengths)
    within = np.concatenate([np.arange(n) for n in lengths])
    longest = int(lengths[-1])
    where = _on(hidden, sample), _on(hidden, within)
    padded = hidden.new_zeros(len(lengths), longest, hidden.shape[1], dtype=torch.float64)
    padded[where] = hidden[rows].double()
    return Block(rows, *where, _on(hidden, lengths), longest, products(padded))


def _on(like: Tensor, numbers: Ints) -> Tensor:
    """Numbers on the device of `like`."""
    return torch.from_numpy(numbers).to(like.device, non_blocking=True)
