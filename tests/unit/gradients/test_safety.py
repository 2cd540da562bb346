"""FIHS and the refusal's probability against autograd in float64, and against a real step."""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import TINY, WIDE, V, nested, tiny
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import CohereConfig, Gemma2Config, GPTNeoXConfig, GraniteConfig, LlamaConfig

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.factors import PROXIES, FactorSum
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicting_positions
from gradgate.gradients.safety import ProxyTerm, SafetyGradient, head_factors
from gradgate.gradients.score import SAFETY, Score
from gradgate.gradients.scorer import Scorer
from gradgate.models.head import find_head, linear_of
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
            lora: Any = self._loaded.head
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
    return float(logp[REFUSAL].logsumexp(0).detach())


def against(score: Score) -> list[float]:
    assert score.status == "scored", score.reason
    assert tuple(score.against_probes()) == SAFETY
    return list(score.against_probes().values())


def scored(
    loaded: LoadedModel, samples: list[Tokens], safety: SafetyGradient, **how: Any
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
    samples = nested()[:12]
    assert_equal_to_autograd(loaded, samples, scored(loaded, samples, safety))


def biased() -> LoadedModel:
    loaded = tiny(CONFIGS["llama"])
    torch.manual_seed(11)
    loaded.head.bias = nn.Parameter(torch.randn(V), requires_grad=False)
    return loaded


def with_lora_on_the_head() -> LoadedModel:
    loaded = tiny(CONFIGS["capped"])
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["lm_head", "q_proj"])
    torch.manual_seed(12)
    adapted = get_peft_model(loaded.model, settings)
    for name, weight in adapted.named_parameters():
        nn.init.normal_(weight, std=0.1) if "lora_" in name else None
    adapted.eval().requires_grad_(False)
    return replace(loaded, model=adapted, head=find_head(adapted))


@pytest.mark.parametrize("make", [biased, with_lora_on_the_head])
def test_fihs_of_a_head_that_is_more_than_a_weight(make: Callable[[], LoadedModel]) -> None:
    loaded = make()
    samples = nested()[:12]
    found = scored(loaded, samples, head_factors(loaded, terms(), REFUSAL))
    assert_equal_to_autograd(loaded, samples, found)


def test_neither_batches_nor_order_nor_sharing_count() -> None:
    loaded = tiny(CONFIGS["tied"])
    safety = head_factors(loaded, terms(), REFUSAL)
    samples = nested()
    expected = scored(loaded, samples, safety)
    scale = np.abs(expected).max(axis=0)
    for how in ({"batch_tokens": 64}, {"batch_tokens": 2000, "share_prefixes": False}):
        assert np.abs(scored(loaded, samples, safety, **how) - expected).max() <= 2e-5 * scale.max()
    backwards = scored(loaded, samples[::-1], safety)[::-1]
    assert (np.abs(backwards - expected) <= 2e-6 * scale).all()


def test_the_other_signals_are_what_they_are_without_probes() -> None:
    loaded = tiny(CONFIGS["capped"])
    safety = head_factors(loaded, terms(), REFUSAL)
    samples = nested()[:20]
    plain = Scorer(loaded, ScoringConfig()).score(samples)
    beside = Scorer(loaded, ScoringConfig(), safety=safety).score(samples)
    for one, other in zip(plain, beside, strict=True):
        assert (one.safety, one.against_probes()) == (None, {})
        assert other.entropy_full == pytest.approx(one.entropy_full, abs=1e-6)
        assert (other.loss, other.gradient_norm) == (one.loss, one.gradient_norm)
        assert other.token_logp == one.token_logp


@pytest.mark.parametrize("max_bytes", [2**14, 2**27])
def test_logits_in_pieces_say_the_same(max_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny(CONFIGS["capped"])
    safety = head_factors(loaded, terms(), REFUSAL)
    samples = nested()[:12]
    monkeypatch.setattr("gradgate.gradients.scorer.LOGITS_BYTES", {"cpu": max_bytes})
    monkeypatch.setattr("gradgate.gradients.scorer.MIN_LOGITS_BYTES", 2**10)
    assert_equal_to_autograd(loaded, samples, scored(loaded, samples, safety))


def test_a_step_on_a_sample_moves_the_scores_as_fihs_says() -> None:
    """High FIHS is harmful: safety falls, and the published score of danger rises."""
    loaded = tiny(CONFIGS["llama"])
    samples = nested()[:6]
    found = scored(loaded, samples, head_factors(loaded, terms(), REFUSAL))
    rate = 1e-5
    for sample, fihs in zip(samples, found, strict=True):
        head = Head64(loaded)
        before = [float(head.proxy(some).detach()) for some in terms().values()]
        gradient = head.gradient(head.loss(sample))
        with torch.no_grad():
            head.weight -= rate * gradient
            after = [float(head.proxy(some)) for some in terms().values()]
        moved = np.subtract(after, before)
        scale = np.abs(fihs[:3]).max() * rate
        assert moved == pytest.approx(
            np.array([-1.0, -1.0, 1.0]) * rate * fihs[:3], abs=5e-3 * scale
        )
        assert np.sign(moved[2]) == np.sign(fihs[2])


def test_the_published_score_is_a_difference_of_logits() -> None:
    """Its normaliser cancels: the gradient is that of two rows of the head alone."""
    loaded = tiny(CONFIGS["llama"])
    head = Head64(loaded)
    gradient = head.gradient(head.proxy(terms()["published"]))
    touched = gradient.abs().sum(dim=1) > 1e-9 * gradient.abs().max()
    assert touched.nonzero()[:, 0].tolist() == [40, 90]


def test_many_terms_are_kept_in_few_directions_and_what_is_lost_is_told() -> None:
    torch.manual_seed(4)
    n_vocabulary, n_hidden, n_terms = 400, 300, 600
    decay = torch.logspace(0, -7, 280, dtype=torch.float64)
    left = torch.randn(n_vocabulary, 280).double() * decay @ torch.randn(280, n_terms).double()
    right = torch.randn(n_terms, n_hidden).double()
    weights = torch.randn(3, n_terms).double()
    kept = {}
    for dtype in (torch.float32, torch.bfloat16):
        total = FactorSum(n_vocabulary, n_hidden, dtype)
        for start in range(0, n_terms, 100):
            some = slice(start, start + 100)
            total.add(*(x.to(total.dtype) for x in (left[:, some], right[some], weights[:, some])))
        found = total.gradient(torch.tensor([1]))
        kept[dtype] = found.rank
        for i, name in enumerate(PROXIES):
            exact = (left * weights[i]) @ right
            error = found.basis.double() @ found.factors[i].mT - exact
            assert float(error.norm() / exact.norm()) <= found.residual[name] + 2e-6
            assert found.norms[name] == pytest.approx(float(exact.norm()), rel=1e-4)
            assert found.residual[name] < (2e-3 if dtype == torch.float32 else 2e-2)
    assert kept[torch.bfloat16] < kept[torch.float32] == 128


def test_what_is_not_finite_fails_alone() -> None:
    loaded = tiny(CONFIGS["llama"])
    safety = head_factors(loaded, terms(), REFUSAL)
    samples = nested()[:8]
    expected = scored(loaded, samples, safety)
    broken = replace(safety, factors=safety.factors.clone())
    broken.factors[1, 3, 0] = math.nan
    for score in Scorer(loaded, ScoringConfig(), safety=broken).score(samples):
        assert (score.status, score.safety, score.loss) == ("failed", None, None)
        assert "probing set" in str(score.reason)
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[V - 1] = math.nan
    bad = Tokens([1, V - 1, 5, 6], [False, False, True, True])
    *others, failed = Scorer(loaded, ScoringConfig(), safety=safety).score([*samples, bad])
    assert (failed.status, failed.safety) == ("failed", None)
    clean = [i for i, sample in enumerate(samples) if V - 1 not in sample.input_ids]
    assert len(clean) > 2
    for i in clean:
        assert against(others[i]) == pytest.approx(expected[i].tolist(), rel=1e-5)


def test_a_probing_set_that_says_nothing_is_an_error() -> None:
    loaded = tiny(CONFIGS["llama"])
    nothing = [ProxyTerm([1, 5, 9], [0.0, 0.0, 1.0]), ProxyTerm([1, 5, 9], [0.0, 0.0, -1.0])]
    with pytest.raises(ModelError, match="first vanishes"):
        head_factors(loaded, {**terms(), "first": nothing}, REFUSAL)
    with pytest.raises(ValueError, match="refusal token"):
        head_factors(loaded, terms(), [])
    with pytest.raises(ValueError, match="published"):
        head_factors(loaded, {"all": terms()["all"]}, REFUSAL)
    with pytest.raises(ValueError, match="3 tokens have 2 weights"):
        ProxyTerm([1, 2, 3], [0.0, 1.0])
    with pytest.raises(ValueError, match="not its first"):
        ProxyTerm([1, 2], [1.0, 0.0])
    with torch.no_grad():
        linear_of(loaded.head).weight[3] = math.inf
    with pytest.raises(ModelError, match="not finite"):
        head_factors(loaded, terms(), REFUSAL)


def test_the_values_are_little_endian_doubles() -> None:
    packed = struct.pack("<4d", 1.0, -2.0, 3.5, -0.25)
    score = Score(0.1, 0.1, 0.1, 3, 1.0, 1.0, bytes(512), bytes(8), "scored", None, packed)
    assert score.against_probes() == dict(zip(SAFETY, (1.0, -2.0, 3.5, -0.25), strict=True))
