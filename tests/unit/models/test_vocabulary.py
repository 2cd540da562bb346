"""Tokenizers and embeddings that do not fit, and adapters that bring their own."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from lora_helpers import VOCABULARY, write_models
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gradgate.config import FinetuneConfig, ModelConfig, ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.scorer import Scorer
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import identify_model, load_model
from gradgate.models.loading import load_tokenizer
from gradgate.tuning.lora import adapt, save_adapter

IDS = [0, 40, 41, 42, 43]
TEMPLATE = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """`llama`; `tied`, whose head is its embedding; `grown`, whose tokenizer knows more tokens."""
    root = write_models(tmp_path_factory.mktemp("models"))
    config = AutoConfig.from_pretrained(root / "llama", tie_word_embeddings=True)
    tied = AutoModelForCausalLM.from_config(config)
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    tied.save_pretrained(root / "tied")
    tokenizer = AutoTokenizer.from_pretrained(root / "llama")
    tokenizer.save_pretrained(root / "tied")
    shutil.copytree(root / "llama", root / "grown")
    n_before = len(tokenizer)
    missing = [f"<|more{i}|>" for i in range(VOCABULARY - n_before)]
    tokenizer.add_special_tokens({"additional_special_tokens": [*missing, "<|turn|>"]})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(root / "grown")
    return root


def adapter_of(
    base: Path, folder: Path, n_rows: int | None = None, **settings: object
) -> torch.Tensor:
    """Write an adapter with random weights; the logits of `IDS` with it."""
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_pretrained(base)
    if n_rows is not None:
        model.resize_token_embeddings(n_rows)
    modules = settings.pop("target_modules", ["q_proj"])
    adapted = get_peft_model(model, LoraConfig(target_modules=modules, r=4, **settings))
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.02)
        adapted.save_pretrained(folder, save_embedding_layers=n_rows is not None)
        return adapted.eval()(torch.tensor([IDS])).logits


def assert_scored_as(base: Path, adapter: Path, expected: torch.Tensor) -> None:
    config = ModelConfig(path=str(base), adapter=str(adapter), device="cpu", dtype="float32")
    loaded = load_model(config)
    assert (loaded.n_vocabulary, loaded.n_hidden) == (expected.shape[2], 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(torch.tensor([IDS])).logits, expected)
    sample = Tokens(IDS, [False] * 2 + [True] * 3)
    (score,) = Scorer(loaded, ScoringConfig(k=4)).score([sample])
    loss = torch.nn.functional.cross_entropy(expected[0, 1:4], torch.tensor(IDS[2:]))
    assert score.loss == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
        ("tied", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("tied", {"target_modules": ["q_proj", "lm_head"]}),
        ("tied", {"trainable_token_indices": [40, 41]}),
        ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("llama", {"n_rows": VOCABULARY + 4}),
        ("llama", {"n_rows": VOCABULARY - 4}),
        ("tied", {"n_rows": VOCABULARY + 4}),
        ("llama", {"n_rows": VOCABULARY + 4, "modules_to_save": ["embed_tokens", "lm_head"]}),
    ],
)
def test_an_embedding_that_was_trained_with_the_adapter(models, tmp_path, base, settings) -> None:
    expected = adapter_of(models / base, tmp_path / "adapter", **settings)
    assert_scored_as(models / base, tmp_path / "adapter", expected)


def test_half_of_a_resized_vocabulary_is_refused(models: Path, tmp_path: Path) -> None:
    adapter_of(models / "llama", tmp_path / "adapter", VOCABULARY + 4)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "lm_head" not in k}, file)
    config = ModelConfig(path=str(models / "llama"), adapter=str(tmp_path / "adapter"))
    with pytest.raises(ModelError, match=r"resized .*embedding with 324 rows; .*save_embedding"):
        load_model(config)


def test_a_resized_adapter_that_is_trained_further_keeps_its_embedding(models, tmp_path) -> None:
    expected = adapter_of(models / "llama", tmp_path / "first", VOCABULARY + 4)
    config = ModelConfig(
        path=str(models / "llama"), adapter=str(tmp_path / "first"), device="cpu", dtype="float32"
    )
    loaded = load_model(config)
    tuned = adapt(loaded, config, FinetuneConfig(target_modules=["q_proj"]))
    save_adapter(tuned, tmp_path / "second", loaded.is_resized)
    assert_scored_as(models / "llama", tmp_path / "second", expected)


def test_ids_beyond_the_embedding_are_found_before_anything_is_loaded(models: Path) -> None:
    config = ModelConfig(path=str(models / "grown"), device="cpu")
    with pytest.raises(ModelError, match=r"'<\|turn\|>': 320\), and the embedding has 320 rows"):
        ConfiguredModel(config).check()
    with pytest.raises(ModelError, match=r"resize_token_embeddings\(321\)"):
        load_model(config)
    ConfiguredModel(ModelConfig(path=str(models / "llama"))).check()


def test_a_special_token_that_nothing_becomes_may_lie_beyond(models: Path, tmp_path: Path) -> None:
    """As that for images does in Gemma 3."""
    shutil.copytree(models / "grown", tmp_path / "grown")
    (tmp_path / "grown" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    ConfiguredModel(ModelConfig(path=str(tmp_path / "grown"))).check()


def test_the_tokenizer_of_the_adapter_goes_before_the_models(models, tmp_path, caplog) -> None:
    adapter_of(models / "llama", tmp_path / "adapter", VOCABULARY + 1)
    config = ModelConfig(path=str(models / "llama"), adapter=str(tmp_path / "adapter"))
    before = identify_model(config).identity["adapter_sha256"]
    assert load_tokenizer(config).chat_template is None
    AutoTokenizer.from_pretrained(models / "grown").save_pretrained(tmp_path / "adapter")
    with caplog.at_level(logging.WARNING):
        assert load_tokenizer(config).convert_tokens_to_ids("<|turn|>") == VOCABULARY
    assert "tokenizer and chat template of adapter" in caplog.text
    assert identify_model(config).identity["adapter_sha256"] != before
    assert load_model(config).tokenizer.chat_template == TEMPLATE


def test_a_template_alone_in_the_adapters_folder_is_used(models: Path, tmp_path: Path) -> None:
    adapter_of(models / "llama", tmp_path / "adapter")
    (tmp_path / "adapter" / "chat_template.jinja").write_text("{{ 'hello' }}")
    config = ModelConfig(path=str(models / "llama"), adapter=str(tmp_path / "adapter"))
    assert load_tokenizer(config).chat_template == "{{ 'hello' }}"
