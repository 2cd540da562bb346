"""The gradient of the head as cosines: its low frequencies, and never a V x d matrix.

The discrete cosine transform is linear in either side of a matrix, so that that of
G = Delta^T H / T is DCT(Delta)^T DCT(H) / T, with Delta and H transformed along vocabulary and
hidden size. Forward-only, and exact.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradgate.common.arrays import Marks
from gradgate.data.tokens import Tokens
from gradgate.gradients.head import HeadBackward
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.hidden_states import in_batches
from gradgate.gradients.logits import Room
from gradgate.gradients.predicting import predicted_tokens, predicting_ids, predicting_positions
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel

CROP = 8  # one part in so many of either side is kept
LOGITS_BYTES = 64 * 2**20  # of float32 logits at a time; the transform takes some four times that


def n_low(loaded: LoadedModel) -> tuple[int, int]:
    """How many low frequencies of either side are kept: V // 8 and d // 8."""
    return max(1, loaded.n_vocabulary // CROP), max(1, loaded.n_hidden // CROP)


def low_frequencies(
    loaded: LoadedModel, samples: Sequence[Tokens], found: npt.NDArray[np.float32]
) -> Marks:
    """The low frequencies of each sample's gradient, by scipy's `dctn(G, type=2)[:V//8, :d//8]`.

    Args:
        loaded: The model.
        samples: n samples.
        found: Is filled. (n, (V // 8) * (d // 8))

    Returns:
        Which samples' values are finite: (n,).

    Raises:
        DataError: A sample has no supervised token.
        ModelError: Not even the smallest batch fits into memory, or the head is no linear one.
    """
    room = Room()
    is_finite = np.zeros(len(samples), bool)

    def fill(batch: list[int]) -> None:
        _fill(loaded, [samples[i] for i in batch], np.asarray(batch), found, room)
        for i in batch:
            is_finite[i] = np.isfinite(found[i]).all()

    in_batches(loaded, samples, fill)
    return is_finite


@torch.inference_mode()
def _fill(
    loaded: LoadedModel,
    samples: list[Tokens],
    rows: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
    room: Room,
) -> None:
    """Fill the rows of samples that go through the model together."""
    hidden = padded_forward(loaded, [predicting_ids(sample) for sample in samples])
    at = [predicting_positions(sample) for sample in samples]
    lengths = np.array([len(positions) for positions in at])
    ends = lengths.cumsum()
    starts = np.concatenate([i * hidden.shape[1] + positions for i, positions in enumerate(at)])
    states = hidden.flatten(0, 1)[upload(starts, hidden.device)]  # (n, d)
    predicted = np.concatenate([predicted_tokens(sample) for sample in samples])
    targets = upload(predicted, hidden.device)
    few = max(1, LOGITS_BYTES // (4 * loaded.n_vocabulary))
    found[rows] = 0
    for first in range(0, len(states), few):
        last = min(first + few, len(states))
        left, right = _transformed(loaded, states[first:last], targets[first:last], room)
        for k in np.flatnonzero((ends > first) & (ends - lengths < last)).tolist():
            mine = slice(max(0, int(ends[k] - lengths[k]) - first), int(ends[k]) - first)
            part = left[mine].mT @ right[mine] / int(lengths[k])
            found[rows[k]] += part.flatten().cpu().numpy()


def _transformed(
    loaded: LoadedModel, states: Tensor, targets: Tensor, room: Room
) -> tuple[Tensor, Tensor]:
    """DCT(Delta), (n, V // 8), and DCT(H), (n, d // 8), of n positions."""
    all_columns = 4 * len(states) * loaded.n_vocabulary  # bytes
    backward = HeadBackward(loaded, states, targets, all_columns, room)
    factor = backward.targets().factor
    delta = torch.cat([piece.delta for piece in backward.pieces()], dim=1)
    of_vocabulary, of_hidden = n_low(loaded)
    left = cosine_transform(delta, of_vocabulary)
    right = cosine_transform(states.double() * factor[:, None], of_hidden)
    return left, right.float()


def cosine_transform(values: Tensor, n: int) -> Tensor:
    """The first n numbers of the DCT-II of each row: 2 sum_j x_j cos(pi k (2j + 1) / 2N).

    By a real Fourier transform of the same length (Makhoul 1980).

    Args:
        values: (m, N)
        n: At most N // 2 + 1.
    """
    size = values.shape[1]
    at = torch.arange(size, device=values.device)
    shuffled = values[:, torch.cat([at[::2], at[1::2].flip(0)])]
    spectrum = torch.fft.rfft(shuffled)[:, :n]
    angle = torch.arange(n, device=values.device, dtype=torch.float64) * (math.pi / (2 * size))
    cos, sin = (part.to(values.dtype) for part in (angle.cos(), angle.sin()))
    return 2 * (spectrum.real * cos + spectrum.imag * sin)
