"""Scores against the slow oracle: autograd for each sample, and the SVD of the dense gradient."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    Qwen2Config,
)

from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.score import Mode, Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.sketch import hidden_projection, vocabulary_projection
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel

V, D = 256, 64
SIZES = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {"intermediate_size": 96, "max_position_embeddings": 128, **SIZES}
KV = {"num_key_value_heads": 2, **WIDE}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS = {
    "llama": LlamaConfig(**KV, **SPECIAL),
    "qwen2-tied": Qwen2Config(**KV, **SPECIAL, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=128, **SPECIAL),
    "gpt-neox": GPTNeoXConfig(**WIDE, **SPECIAL),
    "gemma2-capped": Gemma2Config(**KV, **SPECIAL, head_dim=16, final_logit_softcapping=2.0),
    "granite-divides": GraniteConfig(**KV, **SPECIAL, logits_scaling=4.0),
    "cohere-multiplies": CohereConfig(**KV, **SPECIAL, logit_scale=0.5),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny model of each architecture, saved as a user would have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("models")
    letters = {
        token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *map(chr, range(97, 123))])
    }
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    for name, config in CONFIGS.items():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # sharp enough for logits of a trained model's size
            torch.nn.init.normal_(parameter, std=0.25) if parameter.dim() > 1 else None
        model.save_pretrained(root / name)
        fast.save_pretrained(root / name)
    return root


def load(folders, name: str, **settings) -> LoadedModel:
    """In float32, whatever this machine is fast in."""
    settings = {"dtype": "float32", **settings}
    return load_model(ModelConfig(path=str(folders / name), device="cpu", **settings))


def samples(n: int = 12, seed: int = 0) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        prompt, target = int(rng.integers(1, 30)), int(rng.integers(1, 30))
        ids = [1, *rng.integers(3, V, prompt + target).tolist(), 2]
        mask = [False] * (1 + prompt) + [True] * (target + 1)
        if i % 4 == 3:  # several targets, as in a conversation
            mask[2], mask[1] = True, i % 8 == 3
        made.append(Tokens(ids, mask))
    return made


def dense_gradient(loaded: LoadedModel, tokens: Tokens) -> tuple[torch.Tensor, float]:
    """The gradient of the head's weight that autograd finds, (V, d), and the loss."""
    head = loaded.model.get_output_embeddings()
    weight = head.weight.detach().clone().requires_grad_(True)
    labels = torch.tensor(
        [[t if m else -100 for t, m in zip(tokens.input_ids, tokens.is_target, strict=True)]]
    )
    # parametrise the head alone, so that tied embeddings keep out of its gradient
    handle = head.register_forward_hook(
        lambda _, args, out: torch.nn.functional.linear(args[0].detach(), weight, head.bias)
    )
    logits = loaded.model(input_ids=torch.tensor([tokens.input_ids])).logits
    handle.remove()
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)
    (gradient,) = torch.autograd.grad(loss, weight)
    return gradient, loss.item()


def oracle(loaded: LoadedModel, tokens: Tokens, k: int = 16) -> tuple[float, float, float, float]:
    """Entropy of the crop and of all, loss and norm."""
    gradient, loss = dense_gradient(loaded, tokens)
    n_target = sum(tokens.is_target[1:])
    blocks = gradient[: V // 8, : D // 8], gradient
    crop, whole = (dense_entropy(block, n_target, k) for block in blocks)
    return crop, whole, loss, float(gradient.double().norm())


def dense_entropy(block: torch.Tensor, n_target: int, k: int) -> float:
    sigma = np.linalg.svd(block.double().numpy(), compute_uv=False)
    top = np.full(k, 1e-12)
    rank = min(k, n_target, *block.shape)
    top[:rank] = np.maximum(sigma[:rank], 1e-12)
    p = top / top.sum()
    return float(-(p * np.log(p)).sum() / math.log(k))


@pytest.mark.parametrize("name", list(CONFIGS))
def test_scores_equal_autograd_and_dense_svd(folders, name) -> None:
    loaded = load(folders, name)
    tokens = samples()
    found = Scorer(loaded, ScoringConfig()).score(tokens)
    for score, sample in zip(found, tokens, strict=True):
        crop, full, loss, norm = oracle(loaded, sample)
        assert score.status == "scored"
        assert score.entropy_crop == pytest.approx(crop, abs=1e-4)
        assert score.entropy_full == pytest.approx(full, abs=1e-4)
        assert score.loss == pytest.approx(loss, rel=1e-5)
        assert score.gradient_norm == pytest.approx(norm, rel=1e-4)
        assert score.n_target_tokens == sum(sample.is_target[1:])
    modes: tuple[Mode, ...] = ("crop", "full")
    for mode in modes:  # they tell samples apart
        entropies = [score.entropy(mode) for score in found]
        assert len({None if e is None else round(e, 6) for e in entropies}) > 6


def unpacked(score: Score) -> np.ndarray:
    assert score.sketch is not None
    return np.frombuffer(score.sketch, dtype="<f2").astype(np.float64)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_sketches_are_those_of_the_dense_gradient(folders, name) -> None:
    loaded = load(folders, name)
    tokens = samples()
    for score, sample in zip(Scorer(loaded, ScoringConfig()).score(tokens), tokens, strict=True):
        gradient = dense_gradient(loaded, sample)[0].double().numpy()
        expected = (vocabulary_projection(V).T @ gradient @ hidden_projection(D)).ravel()
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(unpacked(score), expected, atol=3e-4)  # float16


@pytest.mark.parametrize("name", list(CONFIGS))
def test_scores_do_not_depend_on_batch_order_or_size(
    folders, name, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(folders, name)
    tokens = samples(16, seed=3)
    alone = Scorer(loaded, ScoringConfig(batch_tokens=1)).score(tokens)
    together = Scorer(loaded, ScoringConfig(batch_tokens=100_000)).score(tokens)
    backwards = Scorer(loaded, ScoringConfig(batch_tokens=150)).score(tokens[::-1])[::-1]
    monkeypatch.setattr("gradgate.gradients.scorer.LOGITS_BYTES", {"cpu": 40 * 4 * V})
    in_small_groups = Scorer(loaded, ScoringConfig(batch_tokens=100_000)).score(tokens)
    for other in (together, backwards, in_small_groups):
        for a, b in zip(alone, other, strict=True):
            assert a.entropy_crop == pytest.approx(b.entropy_crop, abs=2e-5)
            assert a.entropy_full == pytest.approx(b.entropy_full, abs=2e-5)
            assert unpacked(a) @ unpacked(b) == pytest.approx(1.0, abs=1e-3)
            assert a.loss == pytest.approx(b.loss, rel=1e-5)


def test_bfloat16_scores_are_near_float32_and_nearly_independent_of_the_batch(folders) -> None:
    tokens = samples(16, seed=5)
    config = ScoringConfig()
    exact = Scorer(load(folders, "llama"), config).score(tokens)
    loaded = load(folders, "llama", dtype="bfloat16")
    together = Scorer(loaded, config).score(tokens)
    alone = Scorer(loaded, replace_batch(config, 1)).score(tokens)
    for a, b, c in zip(exact, together, alone, strict=True):
        assert b.entropy_full == pytest.approx(a.entropy_full, abs=0.02)
        assert b.entropy_full == pytest.approx(c.entropy_full, abs=0.02)


def replace_batch(config: ScoringConfig, batch_tokens: int) -> ScoringConfig:
    return config.model_copy(update={"batch_tokens": batch_tokens})


def test_k_sets_the_number_of_singular_values(folders) -> None:
    loaded = load(folders, "llama")
    (sample,) = samples(1)
    (score,) = Scorer(loaded, ScoringConfig(k=4)).score([sample])
    assert score.entropy_full == pytest.approx(oracle(loaded, sample, 4)[1], abs=1e-4)


@pytest.mark.parametrize("target", [["lm_head"], ["q_proj", "lm_head"]])
def test_an_adapter_on_the_head_is_scored_as_the_weight_it_makes(
    folders, tmp_path: Path, target
) -> None:
    base = AutoModelForCausalLM.from_pretrained(folders / "llama")
    torch.manual_seed(1)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=target, init_lora_weights=False))
    tuned.save_pretrained(tmp_path)
    adapted = load(folders, "llama", adapter=str(tmp_path))
    merged = replace(
        adapted, model=load(folders, "llama", adapter=str(tmp_path)).model.merge_and_unload()
    )
    merged = replace(merged, head=merged.model.get_output_embeddings())
    tokens = samples()
    config = ScoringConfig()
    plain = Scorer(load(folders, "llama"), config).score(tokens)
    for a, b, c in zip(
        Scorer(adapted, config).score(tokens),
        Scorer(merged, config).score(tokens),
        plain,
        strict=True,
    ):
        assert a.entropy_full == pytest.approx(b.entropy_full, abs=1e-4)
        assert a.loss != pytest.approx(c.loss, rel=1e-3)  # the adapter is really there


def test_logits_that_are_not_finite_are_a_failed_sample_and_never_a_score(folders) -> None:
    loaded = load(folders, "llama")
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[200] = math.nan
    clean, poisoned = (
        Tokens([1, 5, 6, 2], [False, False, True, True]),
        Tokens([1, 200, 6, 2], [False, False, True, True]),
    )
    before = Scorer(loaded, ScoringConfig()).score([clean])
    good, bad, again = Scorer(loaded, ScoringConfig()).score([clean, poisoned, clean])
    assert (bad.status, bad.entropy_crop, bad.loss, bad.sketch) == ("failed", None, None, None)
    assert bad.reason == "the model's output is not finite"
    for score in (good, again):
        assert score.entropy_full == pytest.approx(before[0].entropy_full, abs=1e-6)


def test_an_unknown_transform_of_the_logits_is_an_error(folders) -> None:
    loaded = load(folders, "gemma2-capped")
    unaware = replace(loaded, transform=type(loaded.transform)())
    with pytest.raises(ModelError, match="logits are not those of its head"):
        Scorer(unaware, ScoringConfig()).score(samples())


def test_a_head_that_is_not_linear_is_an_error(folders) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders / "llama")
    model.set_output_embeddings(torch.nn.Sequential(torch.nn.Linear(D, V)))
    from gradgate.models.head import find_head

    with pytest.raises(ModelError, match="head is a Sequential"):
        find_head(model)


def test_a_model_that_looks_ahead_is_an_error(folders) -> None:
    torch.manual_seed(0)
    bert = AutoModelForCausalLM.from_config(BertConfig(**WIDE))  # attends in both directions
    loaded = replace(load(folders, "llama"), model=bert.eval(), head=bert.get_output_embeddings())
    with pytest.raises(ModelError, match="later tokens"):
        Scorer(loaded, ScoringConfig())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.02)])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_gpu_gives_the_scores_of_the_cpu(folders, name, dtype, tolerance) -> None:
    tokens = samples()
    config = ScoringConfig()
    on_gpu = load_model(ModelConfig(path=str(folders / name), device="cuda", dtype=dtype))
    for a, b in zip(
        Scorer(load(folders, name), config).score(tokens),
        Scorer(on_gpu, config).score(tokens),
        strict=True,
    ):
        assert a.entropy_crop == pytest.approx(b.entropy_crop, abs=tolerance)
        assert a.entropy_full == pytest.approx(b.entropy_full, abs=tolerance)
        assert unpacked(a) @ unpacked(b) == pytest.approx(1.0, abs=max(1e-3, tolerance))
        assert a.loss == pytest.approx(b.loss, rel=20 * tolerance)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=20 * tolerance)
