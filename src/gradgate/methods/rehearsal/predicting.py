"""Where a trained model contradicts the targets of samples that it has not seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gradgate.common.arrays import Floats, Ints
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.tuning.trainer import Tuned

_AT_ONCE = 2_048  # tokens of a forward pass, padding included
_TOKENS = 128  # whose probabilities are computed together


@dataclass(frozen=True, eq=False)
class Contradicted:
    """The token of each of n samples that a model contradicts most.

    Attributes:
        nats: How much likelier another token is there than the target's own; negative where the
            own token is the likeliest everywhere. float64 (n,)
        place: Of the token among those of the sample, from 0. (n,)
        token: Id of the likeliest other one. (n,)
        said: Id of the target's own. (n,)
    """

    nats: Floats
    place: Ints
    token: Ints
    said: Ints

    @classmethod
    def none(cls, n: int) -> "Contradicted":
        """Of n samples that were not predicted: NaN."""
        return cls(np.full(n, np.nan), *(np.zeros(n, np.int64) for _ in range(3)))

    def is_whole(self, n: int) -> bool:
        """Whether all is known of n samples; NaN would lie above no cut."""
        known = self.nats.shape == (n,) and self.nats.dtype == np.float64
        numbers = (self.place, self.token, self.said)
        whole = all(one.shape == (n,) and one.dtype == np.int64 for one in numbers)
        return known and whole and bool(np.isfinite(self.nats).all())

    def put(self, at: Ints, found: "Contradicted") -> None:
        """Set what is known of some samples."""
        self.nats[at], self.place[at] = found.nats, found.place
        self.token[at], self.said[at] = found.token, found.said


@torch.inference_mode()
def contradicted(model: Tuned, samples: Sequence[Tokens]) -> Contradicted:
    """Predict each target of n samples, behind all that stands before it.

    Args:
        model: In evaluation mode.
        samples: Each with a target that has a predecessor.

    Raises:
        ModelError: What the model says is not finite.
    """
    found = Contradicted.none(len(samples))
    for chosen in _batches(samples):
        width = len(samples[chosen[0]].input_ids)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        mask, is_target = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for b, i in enumerate(chosen):
            n = len(samples[i].input_ids)
            ids[b, :n] = torch.tensor(samples[i].input_ids)
            is_target[b, :n] = torch.tensor(samples[i].is_target)
            mask[b, :n] = 1
        ids = ids.to(model.device)
        logits = model(
            input_ids=ids, attention_mask=mask.to(model.device), use_cache=False
        ).logits  # (B, T, V)
        own = ids[:, 1:].to(logits.device)
        line, place = is_target[:, 1:].to(logits.device).nonzero(as_tuple=True)
        against = [
            _against(logits[at, to], own[at, to])
            for at, to in zip(line.split(_TOKENS), place.split(_TOKENS), strict=True)
        ]
        nats, token = (torch.cat(part).cpu().numpy() for part in zip(*against, strict=True))
        if not np.isfinite(nats).all():
            raise ModelError("a model that was trained on the reference says what is not finite")
        which, to = line.cpu().numpy(), place.cpu().numpy()
        order = np.lexsort((to, -nats, which))  # of each sample the most nats, the first of equals
        best = order[np.unique(which[order], return_index=True)[1]]
        said = own[line, place].cpu().numpy()
        parts = nats[best], to[best] + 1, token[best], said[best]
        found.put(np.asarray(chosen)[which[best]], Contradicted(*parts))
    return found


def _against(logits: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest other token at each of k places: by how many nats, and its id, (k,) each."""
    logits = logits.float()  # (k, V)
    said = logits.gather(1, own[:, None])[:, 0]
    others = logits.scatter(1, own[:, None], -torch.inf)
    most, token = others.max(dim=-1)
    return most - said, token


def _batches(samples: Sequence[Tokens]) -> Iterator[list[int]]:
    """Numbers of samples of about the same length, the longest first."""
    batch: list[int] = []
    for i in sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids)):
        if batch and (len(batch) + 1) * len(samples[batch[0]].input_ids) > _AT_ONCE:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
