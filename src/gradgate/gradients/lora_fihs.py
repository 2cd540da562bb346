"""FIHS over the parameters of a LoRA adapter: how a step on a sample moves a score of safety.

<grad L, grad S> is the slope of the sample's loss L along grad S, so a central difference gives
it: L a step ahead minus L a step behind, by twice the step. A fresh adapter has B = 0, so grad S
and the slope have no part of A; an adapter that is there already counts with both.

Cost: two forward passes a sample, without shared prefixes (2.5 times the scoring in a prototype),
and once a backward pass of all terms. Memory: a copy of the model in float32, for neither may the
model that was lent change, nor has bfloat16 the digits for a difference of losses. Limits: it sees
wording more than meaning (the same replies under harmful and under benign prompts look alike to
it), and the slope is that of the adapter's own A, which `finetune.seed` draws.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import peft
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from gradgate.common.arrays import Floats, Ints
from gradgate.config import FinetuneConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicting_positions
from gradgate.gradients.safety import ProxyTerm
from gradgate.models.loading import LoadedModel, assemble
from gradgate.models.targets import targets_of

_STEP = 1e-3  # of a layer's weights, at the layer that changes most for its size
_BATCH_TOKENS = 1_024


class _Sequence(Protocol):
    @property
    def input_ids(self) -> Sequence[int]:
        """Token ids."""


SequenceT = TypeVar("SequenceT", bound=_Sequence)


class LoraFihs:
    """<grad L, grad S> of samples over the adapter's parameters.

    High is harmful where S is a score of safety; where S is one of danger, it is the negative.
    grad S, the longest part for some hundred samples, is taken once.
    """

    def __init__(
        self, loaded: LoadedModel, terms: Sequence[ProxyTerm], lora: FinetuneConfig
    ) -> None:
        """Adapt a copy of the model, and take grad S.

        Args:
            loaded: The model; it is left as it is.
            terms: Of the score S.
            lora: The adapter that training will begin with, if the model has none yet.

        Raises:
            ModelError: The model has no module that the adapter names, or grad S vanishes or is
                not finite.
        """
        self._adapted = _Adapted.of(loaded, lora)
        self._adapted.take_gradient(terms)
        self._step = self._adapted.step()

    def __call__(
        self, samples: Sequence[Tokens], on_done: Callable[[int], None] = lambda done: None
    ) -> Floats:
        """Of n samples: (n,), NaN where not finite.

        Args:
            samples: Tokenized samples.
            on_done: Hears the number of forward passes done, of two for each sample.
        """
        losses, done = np.empty((2, len(samples))), 0
        for turn, sign in enumerate((1.0, -1.0)):
            with self._adapted.moved(sign * self._step):
                for rows, found in self._adapted.losses(samples):
                    losses[turn, rows] = found
                    done += len(rows)
                    on_done(done)
        slope = (losses[0] - losses[1]) / (2 * self._step)
        return np.where(np.isfinite(slope), slope, np.nan)


@dataclass(frozen=True)
class _Adapted:
    """A float32 copy of a model with its adapter, whose gradients are those of S."""

    loaded: LoadedModel
    layers: list[tuple[LoraLayer, str]]  # and the name of its adapter

    @classmethod
    def of(cls, loaded: LoadedModel, lora: FinetuneConfig) -> "_Adapted":
        model = copy.deepcopy(loaded.model)
        for parameter in model.parameters():  # buffers keep the dtype that they were made in
            parameter.data = parameter.data.float()
        adapted = model if isinstance(model, PeftModel) else _attached(model, lora)
        adapted.requires_grad_(False).eval()
        layers = [
            (module, name)
            for module in adapted.modules()
            if isinstance(module, LoraLayer)
            for name in module.active_adapters
            if name in module.lora_A
        ]
        if not layers:
            raise ModelError("the model's adapter has no LoRA layer; only LORA can be trained")
        device, identity = loaded.device, loaded.identity
        copied = assemble(adapted, loaded.tokenizer, device, torch.float32, identity)
        found = cls(copied, layers)
        for weight in found.parameters:
            weight.requires_grad_(True)
        return found

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B of each layer."""
        return [p.weight for module, n in self.layers for p in (module.lora_A[n], module.lora_B[n])]

    def take_gradient(self, terms: Sequence[ProxyTerm]) -> None:
        """Put grad S into `grad` of the parameters."""
        for _, batch in _batches(terms):
            value = self._logp(batch, [_weighted(term) for term in batch])
            weights = [term.weights[i] for term in batch for i in _weighted(term) + 1]
            (value * value.new_tensor(weights)).sum().backward()

    def step(self) -> float:
        """The largest step along grad S that changes no layer by more than `_STEP` of it."""
        ratios = []
        for module, name in self.layers:
            a, b = module.lora_A[name].weight, module.lora_B[name].weight
            change = b.grad @ a + b @ a.grad
            change = change * module.scaling[name]
            norms = torch.linalg.vector_norm(change), module.get_base_layer().weight.norm()
            ratios.append(float((norms[0] / norms[1]).detach()))
        largest = max(ratios)
        if not np.isfinite(ratios).all() or largest == 0.0:
            raise ModelError(
                "the gradient of the safety score over the adapter vanishes or is not finite"
            )
        return _STEP / largest

    @contextmanager
    def moved(self, step: float) -> Iterator[None]:
        """The parameters are so far along grad S meanwhile, and exactly where they were later."""
        before = [weight.detach().clone() for weight in self.parameters]
        with torch.no_grad():
            for weight in self.parameters:
                assert weight.grad is not None  # of `take_gradient`
                weight.add_(weight.grad, alpha=step)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(self.parameters, before, strict=True):
                    weight.copy_(value)

    @torch.no_grad()
    def losses(self, samples: Sequence[Tokens]) -> Iterator[tuple[list[int], Floats]]:
        """Mean cross-entropy of the targets of some samples, with their numbers."""
        for rows, batch in _batches(samples):
            at = [predicting_positions(sample) for sample in batch]
            logp = self._logp(batch, at).double().cpu()
            parts = logp.split([len(some) for some in at])
            yield rows, np.array([-float(part.mean()) for part in parts])

    def _logp(self, batch: Sequence[_Sequence], at: Sequence[Ints]) -> Tensor:
        """Ln p of the tokens behind the positions `at`, sequence by sequence: (n,)."""
        ends = [int(some[-1]) + 1 for some in at]
        rows = [list(one.input_ids[:end]) for one, end in zip(batch, ends, strict=True)]
        states = padded_forward(self.loaded, rows)
        picked = torch.cat([row[some] for row, some in zip(states, at, strict=True)])
        tokens = np.concatenate(
            [np.asarray(one.input_ids)[some + 1] for one, some in zip(batch, at, strict=True)]
        )
        logits = self.loaded.transform(self.loaded.head(picked).float())
        targets = torch.from_numpy(tokens).to(picked.device)
        return -nn.functional.cross_entropy(logits, targets, reduction="none")


def _attached(model: nn.Module, lora: FinetuneConfig) -> PeftModel:
    """The adapter as training draws it from its seed; other random numbers are left alone."""
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=targets_of(model, lora.target_modules, "the model"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(lora.seed)
        try:
            with warnings.catch_warnings():
                # peft 0.21 asks transformers 5 by a name that it will drop in version 6.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                # It sets what GPT-2's layers need by itself, and says so.
                warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
                return peft.get_peft_model(model, settings)
        except ValueError as error:
            raise ModelError(f"cannot adapt {lora.target_modules}: {error}") from error


def _weighted(term: ProxyTerm) -> Ints:
    """Positions that predict a weighted token."""
    return np.flatnonzero(np.asarray(term.weights[1:]))


def _batches(items: Sequence[SequenceT]) -> Iterator[tuple[list[int], list[SequenceT]]]:
    """Some items at a time, by rising length, with their numbers."""
    rows: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: len(items[i].input_ids)):
        if rows and (len(rows) + 1) * len(items[i].input_ids) > _BATCH_TOKENS:
            yield rows, [items[row] for row in rows]
            rows = []
        rows.append(i)
    if rows:
        yield rows, [items[row] for row in rows]
