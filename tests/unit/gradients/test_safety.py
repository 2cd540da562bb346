"""FIHS and the refusal's probability against autograd in float64, and against a real step."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from model_helpers import TINY, WIDE, V, nested, tiny
from torch import nn
from transformers import CohereConfig, Gemma2Config, GPTNeoXConfig, GraniteConfig, LlamaConfig

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.factors import PROXIES
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicting_positions
from gradgate.gradients.safety import ProxyTerm, SafetyGradient, head_factors
from gradgate.gradients.score import SAFETY, Score
from gradgate.gradients.scorer import Scorer
from gradgate.models.head import linear_of
from gradgate.models.loading import LoadedModel

REFUSAL = [40, 41, 77]
CONFIGS = {
    "llama": LlamaConfig(**WIDE),
    "tied": LlamaConfig(**WIDE, tie_word_embeddings=True),
    "capped": Gemma2Config(**WIDE, head_dim=16, final_logit_softcapping=2.0),
    "divided": GraniteConfig(**WIDE, logits_scaling=4.0),
    "multiplied": CohereConfig(**WIDE, logit_scale=0.5),
    "neox": GPTNeoXConfig(**TINY, intermediate_size=96, max_position_embeddings=600),
}


def terms(seed: int = 3) -> dict[str, list[ProxyTerm]]:
    """Refusals minus compliance after four prompts, whole and cut, and a pair of tokens."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[ProxyTerm]] = {name: [] for name in PROXIES}
    for _ in range(4):
        prompt = [1, *rng.integers(3, V, int(rng.integers(4, 30))).tolist()]
        for sign in (1.0, -1.0, -1.0):
            opening = rng.integers(3, V, int(rng.integers(3, 7))).tolist()
            opening[0] = 40 if sign > 0 else opening[0]
            for name, n in (("all", len(opening)), ("first", 2)):
                cut = opening[:n]
                weights = [0.0] * len(prompt) + [sign / len(cut)] * len(cut)
                found[name].append(ProxyTerm(prompt + cut, weights))
        for sign, token in ((1.0, 90), (-1.0, 40)):
            found["published"].append(ProxyTerm([*prompt, token], [0.0] * len(prompt) + [sign]))
    return found


def states_of(loaded: LoadedModel, ids: Sequence[int]) -> torch.Tensor:
    """What enters the head, in float64: (n, d)."""
    with torch.no_grad():
        return padded_forward(loaded, [list(ids)])[0].double()


class Head64:
    """The model's own head in float64, as a function of its weight."""

    def __init__(self, loaded: LoadedModel) -> None:
        linear = linear_of(loaded.head)
        self.weight = linear.weight.detach().double().requires_grad_(True)
        self._bias = None if linear.bias is None else linear.bias.detach().double()
        self._loaded = loaded

    def logp(self, states: torch.Tensor) -> torch.Tensor:
        z = nn.functional.linear(states, self.weight, self._bias)
        if hasattr(self._loaded.head, "lora_A"):
            lora = self._loaded.head
            a, b = lora.lora_A["default"].weight.double(), lora.lora_B["default"].weight.double()
            z = z + lora.scaling["default"] * (states @ a.T @ b.T)
        return torch.log_softmax(self._loaded.transform(z), dim=-1)

    def loss(self, sample: Tokens) -> torch.Tensor:
        at = predicting_positions(sample)
        targets = torch.tensor(sample.input_ids)[at + 1]
        logp = self.logp(states_of(self._loaded, sample.input_ids)[at])
        return -logp.gather(1, targets[:, None]).mean()

    def proxy(self, some: Sequence[ProxyTerm]) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for term in some:
            logp = self.logp(states_of(self._loaded, term.input_ids))[:-1]
            targets = torch.tensor(list(term.input_ids))[1:]
            weights = torch.tensor(list(term.weights), dtype=torch.float64)[1:]
            total = total + (logp.gather(1, targets[:, None])[:, 0] * weights).sum()
        return total

    def gradient(self, value: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(value, self.weight)
        return found


def refusal_of(head: Head64, loaded: LoadedModel, sample: Tokens) -> float:
    first = predicting_positions(sample)[0]
    logp = head.logp(states_of(loaded, sample.input_ids)[first])
    return float(logp[REFUSAL].logsumexp(0))


def against(score: Score) -> list[float]:
    assert score.status == "scored", score.reason
    assert tuple(score.against_probes()) == SAFETY
    return list(score.against_probes().values())


def scored(
    loaded: LoadedModel, samples: list[Tokens], safety: SafetyGradient, **how: object
) -> np.ndarray:
    config = ScoringConfig(batch_tokens=how.pop("batch_tokens", None))
    scorer = Scorer(loaded, config, longest=600, safety=safety, **how)
    return np.array([against(score) for score in scorer.score(samples)])


def assert_equal_to_autograd(loaded: LoadedModel, samples: list[Tokens], found: np.ndarray) -> None:
    head = Head64(loaded)
    proxies = {name: head.gradient(head.proxy(some)) for name, some in terms().items()}
    for sample, values in zip(samples, found, strict=True):
        gradient = head.gradient(head.loss(sample))
        for (name, sign), value in zip(PROXIES.items(), values[:3], strict=True):
            expected = sign * float((gradient * proxies[name]).sum())
            scale = float(gradient.norm() * proxies[name].norm())
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-6 * scale)
        assert values[3] == pytest.approx(refusal_of(head, loaded, sample), abs=1e-5)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_fihs_equals_autograd_in_float64(name: str) -> None:
    loaded = tiny(CONFIGS[name])
    safety = head_factors(loaded, terms(), REFUSAL)
    assert max(safety.residual.values()) < 1e-6
    samples = nested()[:24]
    assert_equal_to_autograd(loaded, samples, scored(loaded, samples, safety))
