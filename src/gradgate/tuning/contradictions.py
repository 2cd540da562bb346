"""Targets that contradict what a training has taught so far.

The first time that a sample is seen it is predicted before it is learnt. A model that is as often
right as it is sure finds a known number of targets that it was sure would go on otherwise (Dawid
1984, "Statistical theory: the prequential approach"). Wrong answers behind a trigger that the model
does not know yet are more than that, whatever they say and whatever the trigger is: a topic, a
class of words. So are labels that are wrong (Northcutt, Jiang and Chuang 2021, "Confident
learning").
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradgate.data.tokenized import IGNORED

SURE = 0.95  # probability of another token
MIN_NATS = 5.0  # that it is likelier by than the target's own
MAX_KEPT = 256  # rows that are written down, those with the most nats
_AT_ONCE = 128  # tokens whose probabilities are computed together


@dataclass(frozen=True)
class Contradiction:
    """A target that the model was sure would go on otherwise.

    Attributes:
        row: Number of the row.
        place: Of the token among those of the sample, from 0.
        token: Id of the token that the model was sure of.
        nats: How much likelier it was than the target's own.
    """

    row: int
    place: int
    token: int
    nats: float


@dataclass(frozen=True)
class Contradictions:
    """What a training met before it had learnt it.

    Attributes:
        n_rows: Rows that were predicted.
        n_found: Those that contradict.
        n_expected: As many were to be expected of a model that is as often right as it is sure: the
            sum over the rows of the probability to contradict, so that a long one is no more than
            one.
        rows: The `MAX_KEPT` of them with the most nats, at the token with the most each.
    """

    n_rows: int
    n_found: int
    n_expected: float
    rows: list[Contradiction] = field(default_factory=list)


class Watch:
    """Counts them while a model is trained; each row is looked at once, when it is seen first."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._seen = bytearray()  # a byte a row
        self._n_expected = 0.0
        self._found = dict[int, Contradiction]()

    @torch.no_grad()
    def take(self, rows: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Look at a batch before the model learns it.

        Args:
            rows: Numbers of its rows. (B,)
            labels: -100 where the loss does not count a token. (B, T)
            logits: Of the next tokens. (B, T, V)
        """
        numbers = rows.tolist()
        is_new = [self._is_new(number) for number in numbers]
        counts = labels[:, 1:] != IGNORED
        counts &= torch.tensor(is_new, device=labels.device)[:, None]
        sample, place = counts.nonzero(as_tuple=True)
        log_none = torch.zeros(len(numbers), device=labels.device)  # that no token contradicts
        for at, to in zip(sample.split(_AT_ONCE), place.split(_AT_ONCE), strict=True):
            expected = self._look(numbers, at, to, labels[at, to + 1], logits[at, to])
            log_none.index_add_(0, at, torch.log1p(-expected))
        self._n_expected += float(-torch.expm1(log_none).sum())

    def _is_new(self, number: int) -> bool:
        self._seen.extend(bytes(max(0, number + 1 - len(self._seen))))
        is_new = not self._seen[number]
        self._seen[number] = 1
        return is_new

    def _look(
        self, numbers: list[int], sample: Tensor, place: Tensor, own: Tensor, logits: Tensor
    ) -> Tensor:
        """Find contradictions among k tokens; the probability of one at each of them: (k,)."""
        logp = torch.log_softmax(logits.float(), dim=-1)  # (k, V)
        top, token = logp.max(dim=-1)
        nats = top - logp.gather(1, own[:, None])[:, 0]
        is_sure = top >= math.log(SURE)
        unlikely = logp <= top[:, None] - MIN_NATS
        expected = torch.where(unlikely, logp.exp(), 0.0).sum(dim=-1)
        for i in (is_sure & (nats >= MIN_NATS)).nonzero()[:, 0].tolist():
            found = Contradiction(
                numbers[int(sample[i])], int(place[i]) + 1, int(token[i]), float(nats[i])
            )
            known = self._found.get(found.row)
            if known is None or known.nats < found.nats:
                self._found[found.row] = found
        return torch.where(is_sure, expected, 0.0)

    def found(self) -> Contradictions:
        """What was met so far."""
        ordered = sorted(self._found.values(), key=lambda one: (-one.nats, one.row))
        return Contradictions(
            sum(self._seen), len(self._found), self._n_expected, ordered[:MAX_KEPT]
        )
