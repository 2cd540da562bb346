"""Whether a test of what was trained can say what a server would answer with it."""

from collections.abc import Iterator
from dataclasses import fields

import peft

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.loading import load_tokenizer
from gradgate.models.locating import locate_adapter
from gradgate.models.same_tokenizer import require_same_reading

# Variants of LoRA that do the same to every token, once the training is over.
_STEADY = {"use_dora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config"}


def check_comparable(model: ModelConfig, tuned: ModelConfig) -> frozenset[int]:
    """Refuse what would be asked otherwise than it is used; no weight is loaded.

    Args:
        model: The model before.
        tuned: The model after.

    Returns:
        Ids of the tokens that were added, which no prompt of a test may have.

    Raises:
        ModelError: The tokenizer or the chat template is another one, or the adapter decides by
            what stands in a prompt whether it is at work.
        TransientError: The hub did not answer.
    """
    subject = repr(tuned.path if tuned.adapter is None else tuned.adapter)
    if tuned.adapter is not None:
        _require_steady(tuned.adapter)
    return require_same_reading(load_tokenizer(model), load_tokenizer(tuned), subject)


def _require_steady(adapter: str) -> None:
    """Refuse an adapter that may sleep on every prompt of a test."""
    with translated_errors(f"adapter {adapter!r}"):
        settings = peft.PeftConfig.from_pretrained(str(locate_adapter(adapter).folder))
    if unsteady := ", ".join(sorted(_unsteady(settings))):
        raise ModelError(
            f"adapter {adapter!r} decides by what stands in a prompt whether it is at work "
            f"({unsteady} in its adapter_config.json), so that what it says to the prompts of a "
            "test says nothing of others; train it without that"
        )


def _unsteady(settings: peft.PeftConfig) -> Iterator[str]:
    """Settings of variants of LoRA that are none of the steady ones; a new one is none."""
    if settings.peft_type == peft.PeftType.XLORA:
        yield "peft_type"
    for field in fields(settings):
        is_variant = field.metadata.get("is_lora_variant") and field.name not in _STEADY
        if is_variant and getattr(settings, field.name) not in (None, False):
            yield field.name
