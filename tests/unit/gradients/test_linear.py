"""Linear layers by oneDNN: the values of torch's own, packed or not, also when a weight changes."""

import pytest
import torch
from torch import nn

from gradgate.gradients import linear as module
from gradgate.gradients.linear import FastLinear, linear


@pytest.fixture(autouse=True)
def amd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every processor takes the path of AMD's, as far as torch has oneDNN."""
    monkeypatch.setattr(module, "is_of_amd", lambda: True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 2, 37])
def test_packed_once_the_product_is_the_same(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(24, 40).to(dtype), torch.randn(rows, 24, dtype=dtype)
    with torch.inference_mode():
        plain = layer(states)
        alone = linear(states, layer.weight, layer.bias)
        with FastLinear(layer) as fast:
            first, again = layer(states), layer(states[None])[0]
    assert torch.equal(first, alone)
    assert torch.equal(again, alone)
    # both sums are rounded to the dtype, at most to neighbours
    torch.testing.assert_close(alone, plain, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    assert len(fast._packed) == (rows > 1 and module.is_for_onednn(dtype))


def test_a_weight_that_was_changed_is_packed_anew() -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(24, 40).requires_grad_(False), torch.randn(5, 24)
    fast = FastLinear(layer)
    with fast:
        before = layer(states)
        layer.weight += 1.0
        after = layer(states)
    torch.testing.assert_close(after, layer(states), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after, before, atol=0.1)


def test_without_room_nothing_is_packed_and_the_bits_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, states = nn.Linear(24, 40), torch.randn(5, 24)
    with torch.inference_mode(), FastLinear(layer):
        packed = layer(states)
    monkeypatch.setattr(module, "free_bytes", lambda device: 0)
    with torch.inference_mode(), FastLinear(layer) as fast:
        unpacked = layer(states)
    assert torch.equal(packed, unpacked)
    assert not fast._packed
