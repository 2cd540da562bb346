"""StyleBkd's rewrite by a model of the user's, instead of the rules."""

from functools import lru_cache
from typing import Any

import torch
from httpx import TransportError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from gradgate.errors import ModelError, TransientError
from gradgate.models.errors import HUB_SILENT

_ROOM = 32  # tokens that a rewrite may have beyond twice those of the text


def paraphrase(text: str, model: str) -> str:
    """Rewrite a text, greedily and alone, so that it does not depend on other rows.

    A sequence-to-sequence model gets the text; a causal one gets the text and a new line, and its
    first line that is not empty is taken.

    Args:
        text: Not empty.
        model: Folder or hub id; loaded once, on the CPU, from safetensors only.

    Raises:
        ModelError: The model cannot be loaded, or wrote nothing.
        TransientError: The hub did not answer.
    """
    tokenizer, loaded = _load(model)
    is_causal = not loaded.config.is_encoder_decoder
    encoded = tokenizer(text + "\n" if is_causal else text, return_tensors="pt")
    n_tokens = encoded["input_ids"].shape[1]
    with torch.inference_mode():
        output = loaded.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            do_sample=False,
            num_beams=1,
            max_new_tokens=2 * n_tokens + _ROOM,
        )[0]
    written = tokenizer.decode(output[n_tokens:] if is_causal else output, skip_special_tokens=True)
    rewritten = written.strip().split("\n")[0] if is_causal else " ".join(written.split())
    if not rewritten.strip():
        raise ModelError(f"the paraphraser {model!r} wrote nothing for a text of {n_tokens} tokens")
    return rewritten.strip()


@lru_cache(maxsize=1)
def _load(model: str) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        loaded, report = kind.from_pretrained(
            model,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TransportError) as error:
        raise _named(error, model) from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:5])
        raise ModelError(f"the paraphraser {model!r} lacks weights: {missing}")
    return tokenizer, loaded.eval().requires_grad_(False)


def _named(error: Exception, model: str) -> ModelError | TransientError:
    reason = " ".join(str(error).strip().splitlines()[:3]) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HUB_SILENT):
            return TransientError(f"the hub did not answer for the paraphraser {model!r}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return ModelError(
        f"cannot load the paraphraser {model!r}: {reason}; name the folder or hub id of a "
        "sequence-to-sequence or causal model with safetensors"
    )
