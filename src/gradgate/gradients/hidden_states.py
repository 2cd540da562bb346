"""Hidden states of samples under a model, one vector each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradgate.common.arrays import Floats, Ints
from gradgate.data.tokens import Tokens
from gradgate.gradients.memory import Budget
from gradgate.gradients.predicting import predicting_ids, predicting_positions
from gradgate.gradients.scorer import MAX_STEP_TOKENS, MIN_STEP_TOKENS
from gradgate.models.loading import LoadedModel

Pool = Literal["target_mean", "last"]


def hidden_states(
    loaded: LoadedModel,
    samples: Sequence[Tokens],
    layers: Sequence[int] = (-1,),
    pool: Pool = "target_mean",
) -> Floats:
    """One vector for each sample and layer: (n, layers, d).

    NaN where the model's output is not finite.

    Args:
        loaded: The model.
        samples: n samples.
        layers: 0 stands for the embeddings, i for the output of block i, and -1 for the input of
            the head (behind the last norm).
        pool: target_mean: the mean over the supervised tokens; last: the last of them.

    Raises:
        DataError: A sample has no supervised token.
        ModelError: Not even the smallest batch fits into memory.
    """
    found = np.full((len(samples), len(layers), loaded.n_hidden), np.nan)

    def pooled(batch: list[int]) -> None:
        states = _pooled(loaded, [samples[i] for i in batch], layers, pool)
        found[batch] = states.cpu().numpy()

    in_batches(loaded, samples, pooled)
    return found


def in_batches(
    loaded: LoadedModel, samples: Sequence[Tokens], work: Callable[[list[int]], None]
) -> None:
    """Do a work on the numbers of samples of similar length, batch by batch.

    A batch that does not fit into memory is halved, and its work begun anew.

    Raises:
        DataError: A sample has no supervised token.
        ModelError: Not even the smallest batch fits into memory.
    """

    def done(batch: list[int]) -> bool:
        work(batch)
        return True

    budget = Budget(MAX_STEP_TOKENS[loaded.device.type], MIN_STEP_TOKENS, "tokens")
    lengths = np.array([len(predicting_ids(sample)) + 1 for sample in samples], np.int64)
    for batch in _batches(lengths, budget):
        todo = [batch]
        while todo:
            some = todo.pop()
            if len(some) > 1 and len(some) * lengths[some[-1]] > budget.size:
                todo += [some[len(some) // 2 :], some[: len(some) // 2]]
            elif not budget.attempt(done, some):
                todo.append(some)


def _batches(lengths: Ints, budget: Budget) -> Iterator[list[int]]:
    """Numbers of samples by rising length; at most `budget.size` padded places, or one sample."""
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[i] > budget.size:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _pooled(
    loaded: LoadedModel, samples: list[Tokens], layers: Sequence[int], pool: Pool
) -> Tensor:
    """Float64 (B, layers, d) of samples that go through the model together."""
    at = [predicting_positions(sample) + 1 for sample in samples]  # of the supervised tokens
    width = max(int(positions[-1]) for positions in at) + 1
    ids = torch.zeros(len(samples), width, dtype=torch.int64)
    weights = torch.zeros(len(samples), width, dtype=torch.float64)
    mask = torch.zeros(len(samples), width, dtype=torch.int64)
    for i, (sample, positions) in enumerate(zip(samples, at, strict=True)):
        end = int(positions[-1]) + 1
        ids[i, :end] = torch.tensor(sample.input_ids[:end])
        mask[i, :end] = 1
        counted = positions if pool == "target_mean" else positions[-1:]
        weights[i, torch.from_numpy(counted)] = 1 / len(counted)
    ids, mask, weights = (values.to(loaded.device) for values in (ids, mask, weights))
    states = _states(loaded, ids, mask, layers)
    pooled = [_weighted(one.to(loaded.device), weights) for one in states]
    return torch.stack(pooled, dim=1)


def _states(loaded: LoadedModel, ids: Tensor, mask: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """The states of some layers; behind a single block nothing more is computed."""
    decoder = loaded.model.get_decoder()
    given = {"input_ids": ids, "attention_mask": mask, "use_cache": False, "return_dict": True}
    blocks = getattr(decoder, "layers", ())
    is_whole = getattr(loaded.model, "hf_device_map", None) is None  # its hooks want to end
    if is_whole and len(layers) == 1 and 0 < layers[0] < len(blocks):
        hook = blocks[layers[0] - 1].register_forward_hook(_stop)
        try:
            decoder(**given)
        except _EnoughError as enough:
            return [enough.states]
        finally:
            hook.remove()
    states = decoder(**given, output_hidden_states=True).hidden_states
    return [states[layer] for layer in layers]


class _EnoughError(Exception):
    """Ends a forward pass behind a block."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop(block: object, given: object, output: Tensor | tuple[Tensor, ...]) -> None:
    raise _EnoughError(output[0] if isinstance(output, tuple) else output)


def _weighted(states: Tensor, weights: Tensor) -> Tensor:
    """Sums over the positions, (B, L, d) and (B, L) -> (B, d); padding may hold anything."""
    counted = torch.where((weights > 0)[:, :, None], states.double(), 0.0)
    return (counted * weights[:, :, None]).sum(dim=1)
