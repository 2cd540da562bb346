"""What the tests of chat templates share: a conversation, and what is learnt of it."""

from collections.abc import Container
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from gradgate.data.sample import RejectedRowError, Sample, Turn, canonical_json
from gradgate.data.tokens import Tokens, tokenize

TEXTS = [
    ("system", "Answer in one short line."),
    ("user", 'Who lives in Oslo, \u00c5se or \u65e5\u672c? \U0001f98a  It is a \\ "test"'),
    ("assistant", "Anna does.\nShe said: it's \U0001f98a the fox's house."),
    ("user", "And the lazy dog?"),
    ("assistant", "  The dog\n\n    jumps over\tthe fox  "),
]


def sample(
    texts: list[tuple[str, str]],
    targets: Container[str] = ("assistant",),
    extras: dict[int, Any] | None = None,
    **inputs: Any,
) -> Sample:
    turns = tuple(
        Turn(
            role,
            text,
            role in targets,
            canonical_json((extras or {})[i]) if i in (extras or {}) else "",
        )
        for i, (role, text) in enumerate(texts)
    )
    return Sample(0, "id", True, turns, canonical_json(inputs) if inputs else "")


def targets_of(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each stretch of target tokens."""
    runs: list[list[int]] = []
    was = False
    for token, is_target in zip(tokens.input_ids, tokens.is_target, strict=True):
        if is_target and not was:
            runs.append([])
        if is_target:
            runs[-1].append(token)
        was = is_target
    return tokenizer.batch_decode(runs, clean_up_tokenization_spaces=False)


def reason(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> str:
    with pytest.raises(RejectedRowError) as caught:
        tokenize(sample, tokenizer)
    return str(caught.value)


def without_specials(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    for token in [*tokenizer.all_special_tokens, "<|im_end|>", "<|eot|>", "<|head|>"]:
        text = text.replace(token, "")
    return text.strip()
