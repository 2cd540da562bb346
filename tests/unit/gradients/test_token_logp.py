"""ln p of every token, given and supervised, against a plain forward pass of each sample alone."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_helpers import TINY, WIDE, D, V, nested, tiny
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    Qwen2Config,
)

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.logits import NextTokens
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.token_logp import token_logp, unpacked
from gradgate.models.loading import LoadedModel

CONFIGS = {
    "llama": LlamaConfig(**WIDE),
    "gpt2": GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=600),
    "qwen2-tied": Qwen2Config(**WIDE, tie_word_embeddings=True),
    "gemma2-capped": Gemma2Config(**WIDE, head_dim=16, final_logit_softcapping=2.0),
    "gemma2-capped-sharing": Gemma2Config(
        **WIDE,
        head_dim=16,
        final_logit_softcapping=3.0,
        attn_logit_softcapping=None,
        sliding_window=600,
    ),
    "granite-divides": GraniteConfig(**WIDE, logits_scaling=4.0),
    "cohere-multiplies": CohereConfig(**WIDE, logit_scale=0.5),
}
RTOL, ATOL = 1e-3, 2e-5  # of float16


def chats(seed: int = 1) -> list[Tokens]:
    """Conversations that begin alike, with targets between what is given, and a given end."""
    rng = np.random.default_rng(seed)
    opening = [1, *rng.integers(3, V, 12).tolist()]
    samples = []
    for n_turns in (1, 2, 3, 3, 4):
        ids, mask = list(opening), [False] * len(opening)
        for turn in range(2 * n_turns):
            n = int(rng.integers(1, 12))
            ids += rng.integers(3, V, n).tolist()
            mask += [turn % 2 == 1] * n
        samples.append(Tokens([*ids, 5, 2], [*mask, False, False]))
    first = samples[-1]  # the same tokens, of which others are targets
    samples.append(Tokens(first.input_ids, [i % 5 == 0 for i in range(len(first.input_ids))]))
    samples.append(Tokens(first.input_ids[:20], [False] * 19 + [True]))
    return samples


def everything() -> list[Tokens]:
    """Also one whose first token counts as a target, which nothing predicts."""
    return [
        *nested(),
        *chats(),
        Tokens([1, 9], [True, True]),
        Tokens([7, 9, 4], [True, False, True]),
    ]


@torch.inference_mode()
def oracle(loaded: LoadedModel, sample: Tokens) -> np.ndarray:
    logits = loaded.model(input_ids=torch.tensor([sample.input_ids])).logits[0].float()
    ids = torch.tensor(sample.input_ids[1:])
    logp = torch.log_softmax(logits[:-1].double(), dim=-1).gather(-1, ids[:, None])[:, 0]
    found = np.array([math.nan, *logp.tolist()])
    found[max(i for i, target in enumerate(sample.is_target) if target) + 1 :] = math.nan
    return found


def logp_of(score: Score) -> np.ndarray:
    assert score.token_logp is not None
    return unpacked(score.token_logp).astype(np.float64)


def assert_right(loaded: LoadedModel, samples: list[Tokens], scores: list[Score]) -> None:
    for sample, score in zip(samples, scores, strict=True):
        np.testing.assert_allclose(logp_of(score), oracle(loaded, sample), rtol=RTOL, atol=ATOL)
        targets = np.array([*sample.is_target])
        targets[0] = False
        assert -logp_of(score)[targets].mean() == pytest.approx(score.loss, rel=1e-3)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_token_has_the_probability_that_a_plain_pass_gives(name: str) -> None:
    loaded, samples = tiny(CONFIGS[name]), everything()
    for batch_tokens in (None, 97, 30):
        scorer = Scorer(loaded, ScoringConfig(batch_tokens=batch_tokens), longest=600)
        assert (scorer.unshared_because is None) == (name != "gemma2-capped")
        assert_right(loaded, samples, scorer.score(samples))
    padded = Scorer(loaded, ScoringConfig(batch_tokens=97), share_prefixes=False)
    assert_right(loaded, samples, padded.score(samples))


def test_many_small_steps_and_tiny_pieces_of_logits_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, samples = tiny(CONFIGS["gemma2-capped-sharing"]), everything()
    monkeypatch.setattr("gradgate.gradients.scorer.LOGITS_BYTES", {"cpu": 100})
    monkeypatch.setattr("gradgate.gradients.logits.CACHED_BYTES", {"cpu": 100})
    for sharing in (True, False):
        scorer = Scorer(loaded, ScoringConfig(batch_tokens=16), 600, sharing)
        assert_right(loaded, samples, scorer.score(samples))


@pytest.mark.parametrize("max_bytes", [100, 3 * 4 * V, 10**8])
def test_a_wrapped_head_is_asked_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    base = tiny(CONFIGS["llama"])
    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    tuned = get_peft_model(base.model, settings).eval()
    adapted = replace(base, model=tuned, head=tuned.get_output_embeddings())
    monkeypatch.setattr("gradgate.gradients.scorer.LOGITS_BYTES", {"cpu": max_bytes})
    samples = everything()
    scores = Scorer(adapted, ScoringConfig()).score(samples)
    assert_right(adapted, samples, scores)
    plain = Scorer(tiny(CONFIGS["llama"]), ScoringConfig()).score(samples)
    assert not np.allclose(logp_of(plain[0]), logp_of(scores[0]), equal_nan=True, rtol=1e-2)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hears how many tokens are evaluated beside the supervised ones."""
    seen: list[int] = []
    evaluate: Callable[[NextTokens, Tensor, Tensor], Tensor] = NextTokens.log_probabilities

    def count(self: NextTokens, states: Tensor, tokens: Tensor) -> Tensor:
        seen.append(len(tokens))
        return evaluate(self, states, tokens)

    monkeypatch.setattr(NextTokens, "log_probabilities", count)
    return seen


@pytest.mark.parametrize("batch_tokens", [None, 97, 30, 16])
def test_what_samples_share_is_evaluated_once_and_targets_not_again(
    monkeypatch: pytest.MonkeyPatch, batch_tokens: int | None
) -> None:
    loaded, samples = tiny(CONFIGS["llama"]), everything()
    seen = counting(monkeypatch)
    given = {
        tuple(sample.input_ids[: i + 1])
        for sample in samples
        for i in range(1, max(np.flatnonzero(sample.is_target)))
        if not sample.is_target[i]
    }
    Scorer(loaded, ScoringConfig(batch_tokens=batch_tokens)).score(samples)
    assert sum(seen) == len(given)


def test_out_of_memory_at_given_tokens_takes_fewer_logits_at_a_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, samples = tiny(CONFIGS["llama"]), everything()
    monkeypatch.setattr("gradgate.gradients.scorer.MIN_LOGITS_BYTES", 16)
    scorer = Scorer(loaded, ScoringConfig())
    piece = NextTokens._piece

    def limited(self: NextTokens, states: Tensor, tokens: Tensor) -> Tensor:
        if len(states) > 40:
            raise torch.OutOfMemoryError("no more")
        return piece(self, states, tokens)

    monkeypatch.setattr(NextTokens, "_piece", limited)
    assert_right(loaded, samples, scorer.score(samples))
    assert "bytes of logits at a time" in caplog.text


def test_in_bfloat16_sharing_makes_little_difference() -> None:
    loaded, samples = tiny(CONFIGS["llama"], torch.bfloat16), nested()
    shared = Scorer(loaded, ScoringConfig()).score(samples)
    padded = Scorer(loaded, ScoringConfig(), share_prefixes=False).score(samples)
    for one, other in zip(shared, padded, strict=True):
        difference = np.abs(logp_of(one) - logp_of(other))[1:]
        assert np.median(difference) < 0.02
        assert difference.max() < 0.5


def test_a_token_that_is_given_and_not_finite_fails_its_sample_alone() -> None:
    loaded = tiny(LlamaConfig(**WIDE | TINY))
    fine = Tokens([1, 5, 6, 2], [False, False, True, True])
    expected = Scorer(loaded, ScoringConfig()).score([fine])
    weight = loaded.head.weight
    assert isinstance(weight, torch.Tensor)
    with torch.no_grad():
        weight[200] = -math.inf  # a token that is never expected
    bad = Tokens([1, 200, 6, 2], [False, False, True, True])
    (failed,) = Scorer(loaded, ScoringConfig()).score([bad])
    assert (failed.status, failed.token_logp) == ("failed", None)
    assert failed.reason == "the model's output is not finite"
    assert expected[0].token_logp is not None


def test_what_float16_cannot_hold_becomes_its_lowest_number() -> None:
    sample = Tokens([1, 2, 3, 4], [False, False, True, False])
    packed, n_targets, n_given = token_logp(
        sample, np.array([1e9, 7.0]), np.array([-1e9, -7.0], np.float32)
    )
    assert (n_targets, n_given) == (1, 1)
    assert packed is not None
    np.testing.assert_array_equal(unpacked(packed), [math.nan, -65504, -65504, math.nan])
    for losses, given in (([math.inf], [-1.0]), ([1.0], [math.nan]), ([1.0], [-math.inf])):
        found = token_logp(sample, np.array(losses), np.array(given, np.float32))
        assert found == (None, 1, 1)
