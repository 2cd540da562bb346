"""Models with random weights: cost does not depend on what a model knows."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.shapes import BOS, EOS, FIRST_WORD
from gradgate.models.head import find_head
from gradgate.models.loading import LoadedModel
from gradgate.models.transform import LogitTransform

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
    *("bos_token_id", "eos_token_id"),
)


def llama(vocabulary: int, hidden: int, inner: int, layers: int, heads: int) -> LlamaConfig:
    """A Llama with as many key/value heads as heads, for samples of up to 8,192 tokens."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=8192,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=0,
    )


MICRO = llama(512, 32, 64, 1, 2)  # where the rows are what matters
TINY = llama(2_048, 256, 256, 2, 4)
LLAMA_100M = llama(32_000, 640, 1_728, 12, 10)
LLAMA_2_7B = llama(32_000, 4_096, 11_008, 32, 32)


def with_window(config: LlamaConfig, window: int) -> MistralConfig:
    """The same where every layer sees so many tokens at a time, the last one among them."""
    settings = config.to_dict()
    return MistralConfig(
        **{name: settings[name] for name in _SIZES}, sliding_window=window, pad_token_id=0
    )


def random_model(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A model in memory, made where and as it is used: 7B in bfloat16 never is on the host."""
    model = _random_weights(config, device, dtype)
    return LoadedModel(
        model=model,
        tokenizer=_tokenizer(config.vocab_size),
        device=device,
        dtype=dtype,
        head=find_head(model),
        n_vocabulary=config.vocab_size,
        n_hidden=config.hidden_size,
        transform=LogitTransform(),
        identity={"path": "random", "sha256": None},
    )


def save_random_model(config: PretrainedConfig, folder: Path) -> None:
    """A model folder as a user has it, with a tokenizer whose words are w0, w1, ..."""
    _random_weights(config, torch.device("cpu"), torch.float32).save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)


def _random_weights(
    config: PretrainedConfig, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(False)


def _tokenizer(n_vocabulary: int) -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(FIRST_WORD, n_vocabulary)}
    words |= {"<unk>": 0, "<s>": BOS, "</s>": EOS}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
