"""Values of each sample from the gradient of the head: entropies, loss, norm, sketch, safety."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradgate.common.arrays import Ints
from gradgate.data.tokens import Tokens
from gradgate.gradients.blocks import Block, blocks_of
from gradgate.gradients.factors import PROXIES, SafetyGradient
from gradgate.gradients.head import HeadBackward, Piece, Targets
from gradgate.gradients.logits import Room
from gradgate.gradients.predicting import predicted_tokens, target_begins
from gradgate.gradients.sketch import SIDE, SIZE, hidden_projection, sketches, vocabulary_projection
from gradgate.gradients.spectrum import spectral_entropy
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel

_COPY_FRACTION = 64  # a float64 copy of some columns takes one such part of the logits' memory


@dataclass(frozen=True)
class Values:
    """Of B samples; still being computed on a GPU.

    Attributes:
        numbers: Entropy of the crop and of all, loss and gradient norm. float64 (B, 4)
        sketches: float16 (B, 256)
        losses: Of each supervised token, sample by sample; float64 (n,)
        safety: FIHS by each score of a probing set (`factors.PROXIES`), and ln of the summed
            probability of the tokens that begin a refusal, where a target begins, of several the
            largest; float64 (B, 4). None without a probing set.
    """

    numbers: Tensor
    sketches: Tensor
    losses: Tensor
    safety: Tensor | None


class HeadGradients:
    """Gradients of the head's weight, for samples of one model."""

    def __init__(
        self, loaded: LoadedModel, k: int, room: Room, safety: SafetyGradient | None = None
    ) -> None:
        """Take the model, the number of singular values, room for the logits, and what is safe."""
        self._loaded = loaded
        self._k = k
        self._crop_columns = max(1, loaded.n_vocabulary // 8)
        self._crop_hidden = max(1, loaded.n_hidden // 8)
        project_vocabulary = vocabulary_projection(loaded.n_vocabulary)
        self._project_vocabulary = upload(project_vocabulary, loaded.head_device)
        if safety is not None:  # one product gives the sketch and the safety
            both = [self._project_vocabulary, safety.basis.to(loaded.head_device)]
            self._project_vocabulary = torch.cat(both, dim=1)
        self._safety = safety
        project_hidden = hidden_projection(loaded.n_hidden)
        self._project_hidden = upload(project_hidden, loaded.head_device).double()
        self._room = room

    def values(self, samples: list[Tokens], states: Tensor, max_bytes: int) -> Values:
        """Of B samples, without waiting for a GPU.

        Args:
            samples: B samples.
            states: Input of the head at their predicting positions, sample by sample. (n, d)
            max_bytes: Of float32 logits at a time.
        """
        targets = [predicted_tokens(sample) for sample in samples]
        # a step of the model may end no sample
        begins = np.concatenate([np.empty(0, bool), *map(target_begins, samples)])
        lengths = np.array([len(some) for some in targets])
        ends = lengths.cumsum()
        numbers = torch.empty(len(samples), 4, dtype=torch.float64, device=states.device)
        sketched = torch.empty(len(samples), SIZE, dtype=torch.float16, device=states.device)
        losses = torch.empty(len(states), dtype=torch.float64, device=states.device)
        safety = None if self._safety is None else numbers.new_empty(len(samples), len(PROXIES) + 1)
        max_positions = max(1, max_bytes // (4 * self._loaded.n_vocabulary))
        for group in _groups(lengths, max_positions):
            rows = np.concatenate([np.arange(ends[i] - lengths[i], ends[i]) for i in group])
            wanted = np.concatenate([targets[i] for i in group])
            sent = (rows, wanted, begins[rows], np.array(group))
            at, tokens, opens, these = (upload(part, states.device) for part in sent)
            found = self._values(states[at], tokens, opens, lengths[group], max_bytes)
            numbers[these], sketched[these] = found.numbers, found.sketches
            losses[at] = found.losses
            if safety is not None and found.safety is not None:
                safety[these] = found.safety
        return Values(numbers, sketched, losses, safety)

    def _values(
        self, states: Tensor, targets: Tensor, begins: Tensor, lengths: Ints, max_bytes: int
    ) -> Values:
        """For samples by rising T, one behind the other; `begins` as in `predicting`."""
        watched = None if self._safety is None else self._safety.refusal_tokens
        borders = (self._crop_columns,)
        backward = HeadBackward(
            self._loaded, states, targets, max_bytes, self._room, watched, borders
        )
        seen = backward.targets()
        hidden = states.double() * seen.factor[:, None]
        blocks = list(blocks_of(hidden, lengths))
        projected = states.new_zeros(len(states), self._project_vocabulary.shape[1]).float()
        for piece in backward.pieces():
            projected.addmm_(piece.delta, self._project_vocabulary[piece.start : piece.stop])
            self._add(blocks, piece, max_bytes)
        refusal = seen.watched.where(begins, -torch.inf)
        found = [self._of_block(block, seen, refusal, projected) for block in blocks]
        numbers, sketched, safety = (torch.cat(part) for part in zip(*found, strict=True))
        return Values(numbers, sketched, seen.loss, None if self._safety is None else safety)

    def _add(self, blocks: list[Block], piece: Piece, max_bytes: int) -> None:
        for block in blocks:
            block.add(piece.delta, max_bytes // _COPY_FRACTION)
        if piece.stop == self._crop_columns:
            for block in blocks:
                block.crop = block.products.cropped(self._crop_hidden)

    def _of_block(
        self, block: Block, seen: Targets, refusal: Tensor, projected: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers, sketches and safety; the last without columns if there is no probing set."""
        whole = block.products.spectrum(block.lengths, self._loaded.n_vocabulary, self._k)
        crop = block.crop.spectrum(block.lengths, self._crop_columns, self._k)
        loss = (block.padded(seen.loss) * block.is_real).sum(dim=1) / block.lengths
        entropies = spectral_entropy(crop.sigma), spectral_entropy(whole.sigma)
        columns = block.padded(projected)
        return (
            torch.stack([*entropies, loss, whole.norm], dim=-1),
            sketches(columns[:, :, :SIDE], block.hidden @ self._project_hidden),
            self._safe(block, columns[:, :, SIDE:], refusal),
        )

    def _safe(self, block: Block, projected: Tensor, refusal: Tensor) -> Tensor:
        if self._safety is None:
            return projected[:, 0, :0]
        products = self._safety.products(block.hidden, projected, block.lengths)
        return torch.cat([products, block.padded(refusal).amax(dim=1, keepdim=True)], dim=1)


def _groups(lengths: Ints, max_positions: int) -> Iterator[list[int]]:
    """By rising T, at most `max_positions` positions together, or one sample."""
    group: list[int] = []
    size = 0
    for i in np.argsort(lengths, kind="stable").tolist():
        if group and size + lengths[i] > max_positions:
            yield group
            group, size = [], 0
        group.append(i)
        size += int(lengths[i])
    if group:
        yield group
