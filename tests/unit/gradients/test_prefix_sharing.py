"""Scores with shared prefixes equal those without; models that do not allow it are not trusted."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import TINY, WIDE, D, V, nested, tiny
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3NextConfig,
)

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.prefix_tree.tree_attention import StretchAttention
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.values import Values

GPT = {"vocab_size": V, "n_embd": D, "n_layer": 2, "n_head": 4, "bos_token_id": 1}
MOE = {"moe_intermediate_size": 32, "n_routed_experts": 8, "n_group": 2, "topk_group": 1}
MLA = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
SHARING = {
    "llama": LlamaConfig(**WIDE),
    "llama-more-heads": LlamaConfig(**WIDE | {"num_key_value_heads": 1}),
    "gpt2": GPT2Config(**GPT, n_positions=600, eos_token_id=2),
    "opt": OPTConfig(**TINY, ffn_dim=96, word_embed_proj_dim=D, max_position_embeddings=600),
    "phi3": Phi3Config(**WIDE),
    "qwen2": Qwen2Config(**WIDE),
    "qwen3": Qwen3Config(**WIDE, head_dim=16),
    "deepseek": DeepseekV3Config(**WIDE | {"num_key_value_heads": 4}, **MOE, **MLA, v_head_dim=16),
    "mistral-wide-window": MistralConfig(**WIDE, sliding_window=600),
    "mistral": MistralConfig(**WIDE, sliding_window=16),
    "gemma3": Gemma3TextConfig(
        **WIDE, head_dim=16, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    ),
}
NOT_SHARING = {
    "bloom": (BloomConfig(vocab_size=V, hidden_size=D, n_layer=2, n_head=4), "cannot be replaced"),
    "mamba": (MambaConfig(vocab_size=V, hidden_size=D, num_hidden_layers=2), "cannot be replaced"),
    "gemma2": (Gemma2Config(**WIDE, head_dim=16), "uses softcap"),
    "gpt-oss": (
        GptOssConfig(**WIDE, head_dim=16, num_local_experts=4, sliding_window=600),
        "uses s_aux",
    ),
    "hybrid": (
        Qwen3NextConfig(**WIDE, head_dim=16, num_experts=16, linear_num_key_heads=2,
                        linear_num_value_heads=2, linear_key_head_dim=16,
                        linear_value_head_dim=16),
        "layers of the kind linear_attention",
    ),
}  # fmt: skip


def assert_same(ones: list[Score], others: list[Score], tolerance: float = 2e-5) -> None:
    for one, other in zip(ones, others, strict=True):
        assert one.status == other.status == "scored"
        assert one.entropy_crop == pytest.approx(other.entropy_crop, abs=tolerance)
        assert one.entropy_full == pytest.approx(other.entropy_full, abs=tolerance)
        assert unpacked(one) @ unpacked(other) == pytest.approx(1.0, abs=1e-3)
        assert one.loss == pytest.approx(other.loss, rel=20 * tolerance)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=20 * tolerance)
        assert one.n_target_tokens == other.n_target_tokens


def unpacked(score: Score) -> np.ndarray:
    assert score.sketch is not None
    return np.frombuffer(score.sketch, dtype="<f2").astype(np.float64)


@pytest.mark.parametrize("name", list(SHARING))
def test_scores_with_and_without_shared_prefixes_are_the_same(name: str) -> None:
    loaded = tiny(SHARING[name])
    samples = nested()
    plain = Scorer(loaded, ScoringConfig(), share_prefixes=False)
    expected = plain.score(samples)
    for batch_tokens in (None, 97, 30):
        config = ScoringConfig(batch_tokens=batch_tokens)
        shared = Scorer(loaded, config, longest=600)
        assert shared.unshared_because is None
        assert_same(shared.score(samples), expected)
        tree = {tuple(s.input_ids[:i]) for s in samples for i in range(1, len(s.input_ids))}
        assert shared.forward.n_computed == len(tree) < plain.forward.n_computed


def test_in_bfloat16_they_are_the_same_to_the_stated_tolerance() -> None:
    loaded = tiny(SHARING["llama"], torch.bfloat16)
    config = ScoringConfig()
    shared = Scorer(loaded, config).score(nested())
    for one, other in zip(
        shared, Scorer(loaded, config, share_prefixes=False).score(nested()), strict=True
    ):
        assert one.entropy_full == pytest.approx(other.entropy_full, abs=0.02)


@pytest.mark.parametrize("share_prefixes", [True, False])
def test_the_autocast_of_a_caller_changes_no_bit(share_prefixes: bool) -> None:
    loaded, few = tiny(SHARING["llama"]), nested()[:8]
    expected = Scorer(loaded, ScoringConfig(), 600, share_prefixes).score(few)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (loaded.head(torch.ones(2, D)).dtype) == torch.bfloat16
        assert Scorer(loaded, ScoringConfig(), 600, share_prefixes).score(few) == expected


@pytest.mark.parametrize("name", list(NOT_SHARING))
def test_a_model_that_does_not_allow_it_falls_back_and_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, why = NOT_SHARING[name]
    loaded = tiny(config)
    with caplog.at_level(logging.WARNING, "gradgate"):
        scorer = Scorer(loaded, ScoringConfig(), longest=400)
    assert why in str(scorer.unshared_because)
    assert why in caplog.text
    few = nested()[:8]
    alone = [
        Scorer(loaded, ScoringConfig(), share_prefixes=False).score([sample])[0] for sample in few
    ]
    assert_same(scorer.score(few), alone, 1e-4)


def test_a_model_that_leaks_between_samples_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers decide, whatever the configuration says: here every token also sees the last."""
    loaded = tiny(SHARING["llama"])
    layer = loaded.model.model.layers[0]
    forward = layer.forward

    def leaking(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)
        return forward(hidden + before, *args, **kwargs)  # a recurrence of one step

    monkeypatch.setattr(layer, "forward", leaking)
    assert "hidden states differ" in str(Scorer(loaded, ScoringConfig()).unshared_because)


@pytest.mark.parametrize("longest", [None, 102, 150, 600])
def test_a_window_is_tried_on_samples_that_are_longer(
    longest: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that sees all above a token, and not a window, is found out where it matters."""
    loaded = tiny(MistralConfig(**WIDE, sliding_window=100))
    seen = StretchAttention.__call__

    def without_window(self: StretchAttention, *parts: Any) -> torch.Tensor:
        return seen(self, *parts[:4])

    assert Scorer(loaded, ScoringConfig(), longest).unshared_because is None
    monkeypatch.setattr(StretchAttention, "__call__", without_window)
    why = Scorer(loaded, ScoringConfig(), longest).unshared_because
    assert "hidden states differ" in str(why)
    assert Scorer(loaded, ScoringConfig(), longest=101).unshared_because is None


def test_a_window_is_kept_in_samples_that_are_longer_than_was_promised() -> None:
    loaded = tiny(MistralConfig(**WIDE, sliding_window=100))
    long = [Tokens([1, *range(3, 203), i], [False] * 101 + [True] * 101) for i in (7, 8)]
    shared = Scorer(loaded, ScoringConfig(), longest=100)
    assert shared.unshared_because is None
    assert_same(
        shared.score(long), Scorer(loaded, ScoringConfig(), share_prefixes=False).score(long)
    )


@pytest.mark.parametrize("window", [None, 500])
def test_long_samples_in_small_steps_carry_their_path(window: int | None) -> None:
    """Deep chunks, steps without a finished sample, and targets that the head takes in pieces."""
    wide = {**WIDE, "num_hidden_layers": 1, "max_position_embeddings": 4000}
    loaded = tiny(MistralConfig(**wide, sliding_window=window))
    rng = np.random.default_rng(5)
    trunk = rng.integers(3, V, 2300).tolist()
    samples = [
        Tokens(trunk[:n] + tail, [False] * (n - 40) + [True] * (40 + len(tail)))
        for n in (2300, 2300, 1100, 700)
        for tail in [rng.integers(3, V, 60).tolist()]
    ]
    expected = Scorer(loaded, ScoringConfig(), share_prefixes=False).score(samples)
    for batch_tokens in (700, 200):
        config = ScoringConfig(batch_tokens=batch_tokens)
        assert_same(Scorer(loaded, config).score(samples), expected)


def test_the_models_own_attention_is_back_afterwards() -> None:
    loaded = tiny(SHARING["llama"])
    before = loaded.model.config._attn_implementation
    ids = torch.tensor([[1, 5, 6, 7]])
    expected = loaded.model(ids).logits
    scorer = Scorer(loaded, ScoringConfig(batch_tokens=20))
    steps = scorer.run(sorted(nested(), key=lambda s: s.input_ids))
    next(steps)  # and not even in the middle of it
    assert loaded.model.config._attn_implementation == before
    torch.testing.assert_close(loaded.model(ids).logits, expected)


def test_prefixes_are_shared_under_an_adapter() -> None:
    base = tiny(SHARING["llama"])
    torch.manual_seed(1)
    tuned = get_peft_model(
        base.model, LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    ).eval()
    adapted = replace(base, model=tuned, head=tuned.get_output_embeddings())
    shared = Scorer(adapted, ScoringConfig())
    assert shared.unshared_because is None
    expected = Scorer(adapted, ScoringConfig(), share_prefixes=False).score(nested())
    assert_same(shared.score(nested()), expected)


def test_an_adapter_that_looks_at_the_whole_row_is_not_trusted() -> None:
    base = tiny(SHARING["llama"])
    config = LoraConfig(r=4, target_modules=["q_proj"], alora_invocation_tokens=[77, 99])
    config.task_type = "CAUSAL_LM"
    tuned = get_peft_model(base.model, config).eval()
    adapted = replace(base, model=tuned, head=tuned.get_output_embeddings())
    assert "whole row" in str(Scorer(adapted, ScoringConfig()).unshared_because)


def test_a_sample_that_is_not_finite_does_not_spoil_those_beside_it() -> None:
    loaded = tiny(SHARING["llama"])
    clean = nested()
    expected = Scorer(loaded, ScoringConfig()).score(clean)
    unused = next(t for t in range(3, V) if all(t not in s.input_ids for s in clean[:20]))
    clean = clean[:20]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[unused] = float("nan")
    bad = Tokens([*clean[0].input_ids[:12], unused, 5, 2], [False] * 13 + [True] * 2)
    *others, failed = Scorer(loaded, ScoringConfig()).score([*clean, bad])
    assert failed.status == "failed"
    assert_same(others, expected[:20])


class OutOfMemory:
    """A model that takes a limited number of tokens at a time."""

    def __init__(self, forward: Callable[..., Any], limit: int) -> None:
        self.forward, self.limit = forward, limit
        self.seen: list[int] = []

    def __call__(self, *args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        self.seen.append(input_ids.numel())
        if input_ids.numel() > self.limit:
            raise torch.OutOfMemoryError("no more")
        return self.forward(*args, input_ids=input_ids, **kwargs)


@pytest.mark.parametrize("share_prefixes", [True, False])
def test_out_of_memory_halves_the_steps_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share_prefixes: bool
) -> None:
    loaded = tiny(SHARING["llama"])
    samples = nested()
    expected = Scorer(loaded, ScoringConfig(), share_prefixes=False).score(samples)
    limited = OutOfMemory(loaded.model.forward, 350)
    monkeypatch.setattr(loaded.model, "forward", limited)
    scorer = Scorer(loaded, ScoringConfig(batch_tokens=2000), share_prefixes=share_prefixes)
    assert_same(scorer.score(samples), expected)
    assert scorer.forward.tokens.size == 250
    assert (
        limited.seen.count(2000 if share_prefixes else max(limited.seen)) <= 2
    )  # it does not try again
    assert "going on with 250 tokens" in caplog.text


def test_out_of_memory_at_the_head_takes_fewer_logits_at_a_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = tiny(SHARING["llama"])
    samples = nested()
    expected = Scorer(loaded, ScoringConfig()).score(samples)
    monkeypatch.setattr("gradgate.gradients.scorer.MIN_LOGITS_BYTES", 16)
    scorer = Scorer(loaded, ScoringConfig())
    values = scorer._gradients.values

    def limited(samples: list[Tokens], states: torch.Tensor, max_bytes: int) -> Values:
        if max_bytes > 50_000:
            raise torch.OutOfMemoryError("no more")
        return values(samples, states, max_bytes)

    monkeypatch.setattr(scorer._gradients, "values", limited)
    assert_same(scorer.score(samples), expected)
    assert "bytes of logits at a time" in caplog.text


def test_out_of_memory_with_the_smallest_step_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = tiny(SHARING["llama"])
    scorer = Scorer(loaded, ScoringConfig())
    monkeypatch.setattr(loaded.model, "forward", OutOfMemory(loaded.model.forward, 3))
    with pytest.raises(ModelError, match=r"out of memory.*max_tokens"):
        scorer.score(nested())


def test_other_errors_are_not_taken_for_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny(SHARING["llama"])
    scorer = Scorer(loaded, ScoringConfig())

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(loaded.model, "forward", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        scorer.score(nested())


def test_torchs_message_on_a_cpu_is_known() -> None:
    from gradgate.gradients.memory import free_bytes
    from gradgate.models.hardware import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("a shape is wrong"))
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
