"""Nothing in a step waits for a GPU: run on tensors that have no numbers (torch's meta device).

Whoever asks such a tensor for a number, or brings it to the host, waits for all that was begun.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import WIDE, D, V, nested
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
)

from gradgate.gradients import head, logits
from gradgate.gradients import upload as uploading
from gradgate.gradients.forward import Forward
from gradgate.gradients.head_input import require_linear
from gradgate.gradients.logits import NextTokens, Room
from gradgate.gradients.memory import Budget
from gradgate.gradients.prefix_tree import tree_forward
from gradgate.gradients.prefix_tree.tree_forward import TreeForward
from gradgate.gradients.upload import upload
from gradgate.gradients.values import HeadGradients
from gradgate.models.head import find_head, logit_transform
from gradgate.models.loading import LoadedModel

DEVICE = torch.device("meta")
CONFIGS = {
    "llama": LlamaConfig(**WIDE),
    "qwen3": Qwen3Config(**WIDE, head_dim=16),
    "gpt2": GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=600),
}


class WaitedError(Exception):
    """Somebody waited for the device."""


class Watch(TorchDispatchMode):
    """Raises where the host would wait: for a number, a copy, or a copy to the device."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        there = [one.is_meta for one in args if isinstance(one, torch.Tensor)]
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal") and any(there):
            raise WaitedError(name)
        to = kwargs.get("device")
        crosses = name == "_to_copy" and to is not None and there[0] != (to.type == "meta")
        if crosses and (there[0] or not kwargs.get("non_blocking")):
            raise WaitedError("a copy that is waited for")
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for a GPU; it knows no offloaded head from its own."""
    for sizes in (logits.CACHED_BYTES, tree_forward._ROWS_BYTES):
        monkeypatch.setitem(sizes, "meta", 2**20)
    for module in (head, logits):
        monkeypatch.setattr(module, "has_columns", lambda head: type(head) is nn.Linear)


def without_numbers(config: PretrainedConfig) -> LoadedModel:
    with DEVICE:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = model.eval().requires_grad_(False)
    transform = logit_transform(model.config)
    return LoadedModel(model, None, DEVICE, torch.bfloat16, find_head(model), V, D, transform, {})


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_step_and_its_head_wait_for_nothing(name: str) -> None:
    """Of shared prefixes; in padded batches transformers itself looks at the mask, once a step."""
    samples = sorted(nested()[:12], key=lambda sample: sample.input_ids)
    loaded, budget = without_numbers(CONFIGS[name]), Budget(2**24, 2**20, "bytes of logits")
    tokens = Budget(150, 16, "tokens")
    forward = Forward(loaded, TreeForward(loaded), tokens, NextTokens(loaded, budget))
    gradients, n_done = HeadGradients(loaded, 16, Room()), 0
    with Watch():
        for passed in forward.shared(samples):
            assert passed.states.is_meta
            assert passed.given_logp.is_meta
            n_done += len(passed.samples)
            if passed.samples:
                values = gradients.values(passed.samples, passed.states, 2**24)
                assert values.numbers.shape == (len(passed.samples), 4)
    assert n_done == len(samples)
    with pytest.raises((WaitedError, RuntimeError)), Watch():  # this is where the host waits
        require_linear(passed.is_linear)


@pytest.mark.parametrize(
    "wait",
    [
        lambda some: some.sum().item(),
        lambda some: some.cpu(),
        lambda some: some.tolist(),
        lambda some: bool(some.isfinite().all()),
        lambda some: some[some > 0],
        lambda some: torch.ones(2).to(DEVICE) + some[:2],
    ],
)
def test_the_watch_sees_whoever_waits(wait: Callable[[torch.Tensor], object]) -> None:
    with pytest.raises((WaitedError, RuntimeError)), Watch():
        wait(torch.ones(3, device=DEVICE))


def test_what_goes_to_a_gpu_is_pinned_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    waited: list[bool] = []

    def pin(numbers: torch.Tensor) -> torch.Tensor:
        pinned.append(len(numbers))
        return numbers

    def to(numbers: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        waited.append(not non_blocking)
        return numbers

    monkeypatch.setattr(uploading, "_pinned", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    for n, device in enumerate(("cpu", "cuda")):
        upload(np.arange(n), torch.device(device))
    assert (pinned, waited) == ([1], [False, False])
