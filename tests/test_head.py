"""What the loss sends back into the head, against autograd, in pieces and at once."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from gradgate.models import LoadedModel
from gradgate.scoring.head import Block, HeadBackward
from gradgate.scoring.spectrum import Gram, LogitTransform

LENGTHS = [5, 1, 9]


def with_head(head: nn.Module, n_columns: int, n_hidden: int, transform: LogitTransform):
    """A model of which only the head is there."""
    cpu = torch.device("cpu")
    return LoadedModel(None, None, cpu, torch.float32, head, n_columns, n_hidden, transform, {})


@dataclass
class Found:
    gram: torch.Tensor
    loss: torch.Tensor


def backward_gram(
    model: LoadedModel, states: torch.Tensor, targets: torch.Tensor, max_bytes: int,
    n_columns: int = 400,
) -> Found:  # fmt: skip
    """All positions in one block; the last sample is the longest."""
    lengths = torch.tensor(LENGTHS)
    sample = torch.repeat_interleave(torch.arange(len(LENGTHS)), lengths)
    within = torch.cat([torch.arange(n) for n in LENGTHS])
    sums = Gram(torch.zeros(len(LENGTHS), max(LENGTHS), 1, dtype=torch.float64))
    block = Block(slice(0, sum(LENGTHS)), sample, within, lengths, max(LENGTHS), sums)
    loss = HeadBackward(model, n_columns).run(states, targets, [block], max_bytes)
    return Found(sums.sum, loss)


@pytest.mark.parametrize(
    "transform",
    [LogitTransform(), LogitTransform(cap=5.0), LogitTransform(0.0625), LogitTransform(3.0, 4.0)],
)
@pytest.mark.parametrize("n_columns", [50, 400])
@pytest.mark.parametrize("max_bytes", [1, 4 * 15 * 90, 10**9])
@pytest.mark.parametrize("bias", [True, False])
def test_gram_and_loss_equal_autograd(transform, n_columns, max_bytes, bias):
    torch.manual_seed(1)
    head = nn.Linear(12, 400, bias=bias).requires_grad_(False)
    states, targets = torch.randn(15, 12) * 3, torch.randint(400, (15,))
    z = head(states).double().requires_grad_(True)
    losses = nn.functional.cross_entropy(transform(z), targets, reduction="none")
    (delta,) = torch.autograd.grad(losses.sum(), z)
    model = with_head(head, 400, 12, transform)
    found = backward_gram(model, states, targets, max_bytes, n_columns)
    torch.testing.assert_close(found.loss, losses.detach(), rtol=1e-5, atol=1e-5)
    for i, part in enumerate(delta[:, :n_columns].split(LENGTHS)):
        n = LENGTHS[i]
        torch.testing.assert_close(found.gram[i, :n, :n], part @ part.T, rtol=1e-4, atol=1e-6)
        assert found.gram[i, n:].abs().sum() == 0
        assert found.gram[i, :, n:].abs().sum() == 0


class Wrapped(nn.Module):
    """A head that is more than its weight, as with an adapter on it."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.inner(states) + 0.1 * states.sum(dim=-1, keepdim=True)


def test_a_wrapped_head_is_the_same_in_pieces_and_at_once():
    torch.manual_seed(2)
    head = Wrapped(nn.Linear(12, 400)).requires_grad_(False)
    positions = torch.randn(15, 12), torch.randint(400, (15,))
    model = with_head(head, 400, 12, LogitTransform())
    whole = backward_gram(model, *positions, 10**9)
    pieces = backward_gram(model, *positions, 4 * 15 * 70)
    torch.testing.assert_close(pieces.gram, whole.gram, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(pieces.loss, whole.loss, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("max_bytes", [1, 10**9])
@pytest.mark.parametrize("margin", [8.0, 14.0, 20.0, 30.0])
def test_an_almost_certain_token_keeps_its_digits(margin, max_bytes):
    """1 - p is far below what float32 resolves beside 1."""
    head = nn.Linear(1, 400, bias=False).requires_grad_(False)
    torch.manual_seed(5)
    with torch.no_grad():
        head.weight[:, 0] = torch.randn(400)
        head.weight[7, 0] = 3.0 + margin
    model = with_head(head, 400, 1, LogitTransform())
    found = backward_gram(model, torch.ones(15, 1), torch.full((15,), 7), max_bytes)
    z = head.weight[:, 0].double().requires_grad_(True)
    loss = nn.functional.cross_entropy(z[None], torch.tensor([7]))
    (delta,) = torch.autograd.grad(loss, z)
    expected = float(delta @ delta)
    # float64 itself keeps but four digits of p - 1 here
    assert found.gram[1, 0, 0].item() == pytest.approx(expected, rel=1e-3, abs=0)
    assert found.loss[0].item() == pytest.approx(loss.item(), rel=1e-3, abs=0)


def test_what_is_not_finite_stays_with_its_sample():
    torch.manual_seed(3)
    head = nn.Linear(12, 400).requires_grad_(False)
    states, targets = torch.randn(15, 12), torch.randint(400, (15,))
    model = with_head(head, 400, 12, LogitTransform())
    clean = backward_gram(model, states, targets, 4 * 15 * 70)
    states[5] = math.nan  # the second sample
    found = backward_gram(model, states, targets, 4 * 15 * 70)
    assert found.gram[1, 0, 0].isnan()
    torch.testing.assert_close(found.gram[[0, 2]], clean.gram[[0, 2]])
