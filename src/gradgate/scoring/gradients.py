"""What the gradient of the head says about each sample: entropy, loss and norm."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gradgate.config import ScoringConfig
from gradgate.models import LoadedModel
from gradgate.scoring.head import Positions, backward
from gradgate.scoring.prefixes import Ints
from gradgate.scoring.spectrum import products, spectral_entropy


class HeadGradients:
    """The scored block of the gradient of the head's weight, for samples of one model."""

    def __init__(self, loaded: LoadedModel, config: ScoringConfig) -> None:
        """Take mode and k from `config`."""
        crop = config.mode == "crop"
        self._loaded = loaded
        self._k = config.k
        self._n_columns = max(1, loaded.n_vocabulary // 8) if crop else loaded.n_vocabulary
        self._n_hidden = max(1, loaded.n_hidden // 8) if crop else loaded.n_hidden

    def values(self, hidden: Tensor, at: list[Ints], targets: list[Ints], max_bytes: int) -> Tensor:
        """Entropy, loss and gradient norm of B samples, without waiting for a GPU: (B, 3).

        Args:
            hidden: What enters the head. (M, d)
            at: Indices into `hidden` of the predicting positions of each sample. [(T,)]
            targets: The tokens that they predict. [(T,)]
            max_bytes: Of float32 logits at a time.
        """
        values = torch.empty(len(at), 3, dtype=torch.float64, device=hidden.device)
        most = max(1, max_bytes // (4 * self._loaded.n_vocabulary))
        for group in _groups([len(some) for some in at], most):
            positions = _positions(hidden, [at[i] for i in group], [targets[i] for i in group])
            values[group] = self._values(positions, max_bytes)
        return values

    def _values(self, positions: Positions, max_bytes: int) -> Tensor:
        hidden = positions.padded(positions.states[:, : self._n_hidden].double())
        sums = products(hidden)
        losses = backward(self._loaded, positions, sums, self._n_columns, max_bytes)
        found = sums.spectrum(positions.lengths, self._n_columns, self._k)
        loss = torch.zeros_like(found.norm).index_add_(0, positions.sample, losses)
        entropy = spectral_entropy(found.sigma)
        return torch.stack([entropy, loss / positions.lengths, found.norm], dim=-1)


def _positions(hidden: Tensor, at: list[Ints], targets: list[Ints]) -> Positions:
    lengths = np.array([len(some) for some in at])

    def there(numbers: Ints) -> Tensor:
        return torch.from_numpy(numbers).to(hidden.device, non_blocking=True)

    return Positions(
        states=hidden[there(np.concatenate(at))],
        targets=there(np.concatenate(targets)),
        sample=there(np.repeat(np.arange(len(at)), lengths)),
        within=there(np.concatenate([np.arange(n) for n in lengths])),
        lengths=there(lengths),
        longest=int(lengths.max()),
    )


def _groups(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Put samples of about equal T together: at most `most` positions, or one sample."""
    group: list[int] = []
    size = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (size + lengths[i] > most or 2 * lengths[i] > 3 * lengths[group[0]] + 16):
            yield group
            group, size = [], 0
        group.append(i)
        size += lengths[i]
    if group:
        yield group
