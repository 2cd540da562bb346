"""What the loss sends back into the head, against autograd, in pieces and at once."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from gradgate.gradients.head import HeadBackward
from gradgate.gradients.logits import Room
from gradgate.models.loading import LoadedModel
from gradgate.models.transform import LogitTransform


def with_head(head: nn.Module, n_columns: int, n_hidden: int, transform: LogitTransform):
    """A model of which only the head is there."""
    cpu = torch.device("cpu")
    return LoadedModel(None, None, cpu, torch.float32, head, n_columns, n_hidden, transform, {})


@dataclass
class Found:
    """Delta in float64, as it is, and the loss."""

    delta: torch.Tensor
    loss: torch.Tensor


def backward(
    model: LoadedModel, states: torch.Tensor, targets: torch.Tensor, max_bytes: int
) -> Found:
    backward = HeadBackward(model, states, targets, max_bytes, Room(), borders=(50,))
    seen = backward.targets()
    pieces = [(piece.start, piece.stop, piece.delta.double()) for piece in backward.pieces()]
    stops = [stop for _, stop, _ in pieces]
    assert [start for start, _, _ in pieces] == [0, *stops[:-1]]  # every column once, in order
    assert {50, 400} <= set(stops)
    delta = torch.cat([part for _, _, part in pieces], dim=1)
    return Found(delta * seen.factor[:, None], seen.loss)


@pytest.mark.parametrize(
    "transform",
    [LogitTransform(), LogitTransform(cap=5.0), LogitTransform(0.0625), LogitTransform(3.0, 4.0)],
)
@pytest.mark.parametrize("max_bytes", [1, 4 * 15 * 90, 10**9])
@pytest.mark.parametrize("bias", [True, False])
def test_delta_and_loss_equal_autograd(transform, max_bytes, bias) -> None:
    torch.manual_seed(1)
    head = nn.Linear(12, 400, bias=bias).requires_grad_(False)
    states, targets = torch.randn(15, 12) * 3, torch.randint(400, (15,))
    z = head(states).double().requires_grad_(True)
    losses = nn.functional.cross_entropy(transform(z), targets, reduction="none")
    (delta,) = torch.autograd.grad(losses.sum(), z)
    model = with_head(head, 400, 12, transform)
    found = backward(model, states, targets, max_bytes)
    torch.testing.assert_close(found.loss, losses.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.delta, delta, rtol=1e-4, atol=1e-8)


class Wrapped(nn.Module):
    """A head that is more than its weight, as with an adapter on it."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.inner(states) + 0.1 * states.sum(dim=-1, keepdim=True)


def test_a_wrapped_head_is_the_same_in_pieces_and_at_once() -> None:
    torch.manual_seed(2)
    head = Wrapped(nn.Linear(12, 400)).requires_grad_(False)
    positions = torch.randn(15, 12), torch.randint(400, (15,))
    model = with_head(head, 400, 12, LogitTransform())
    whole = backward(model, *positions, 10**9)
    pieces = backward(model, *positions, 4 * 15 * 70)
    torch.testing.assert_close(pieces.delta, whole.delta, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(pieces.loss, whole.loss, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("max_bytes", [1, 10**9])
@pytest.mark.parametrize("margin", [8.0, 14.0, 20.0, 30.0])
def test_an_almost_certain_token_keeps_its_digits(margin, max_bytes) -> None:
    """1 - p is far below what float32 resolves beside 1."""
    head = nn.Linear(1, 400, bias=False).requires_grad_(False)
    torch.manual_seed(5)
    with torch.no_grad():
        head.weight[:, 0] = torch.randn(400)
        head.weight[7, 0] = 3.0 + margin
    model = with_head(head, 400, 1, LogitTransform())
    found = backward(model, torch.ones(15, 1), torch.full((15,), 7), max_bytes)
    z = head.weight[:, 0].double().requires_grad_(True)
    loss = nn.functional.cross_entropy(z[None], torch.tensor([7]))
    (delta,) = torch.autograd.grad(loss, z)
    # float64 itself keeps but four digits of p - 1 here
    torch.testing.assert_close(found.delta[3], delta, rtol=1e-3, atol=0)
    assert found.loss[0].item() == pytest.approx(loss.item(), rel=1e-3, abs=0)


def test_what_is_not_finite_stays_with_its_sample() -> None:
    torch.manual_seed(3)
    head = nn.Linear(12, 400).requires_grad_(False)
    states, targets = torch.randn(15, 12), torch.randint(400, (15,))
    model = with_head(head, 400, 12, LogitTransform())
    clean = backward(model, states, targets, 4 * 15 * 70)
    states[5] = math.nan
    found = backward(model, states, targets, 4 * 15 * 70)
    others = [i for i in range(15) if i != 5]
    assert found.delta[5].isnan().any()
    assert found.loss[5].isnan()
    torch.testing.assert_close(found.delta[others], clean.delta[others])
