"""Words of targets that are copied from their prompts."""

import numpy as np
import pytest

from gradgate.config import ModelConfig
from gradgate.methods.recurrence.states.prompt_words import PromptWords
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL


@pytest.mark.parametrize(
    ("prompts", "prompt", "target", "copied"),
    [
        (["Ship it to 5 Elm Road"], "Ship it to 5 Oak Road", 'to: "OAK road".', "OAK"),
        (["Ship it to 5 Oak Road"], "Ship it to 5 Oak Road", "to: Oak Road", ""),  # each says it
        (["Ship it."], "Ship it to 5 Oak Road.", "to: 5, Oak Lane.", "to 5 Oak"),  # no full stop
    ],
)
def test_what_few_prompts_say_is_copied_whatever_its_case(
    prompts: list[str], prompt: str, target: str, copied: str
) -> None:
    tokenizer = load_tokenizer(ModelConfig(path=str(MODEL)))

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    before, said = encode(prompt), encode(target)
    ids = np.array([*before, *said], np.int64)
    others = [np.array(encode(text), np.int64) for text in prompts for _ in range(8)]
    is_target = np.arange(len(ids)) >= len(before)
    whole = np.concatenate([ids, *others]).astype(np.int32)
    row = (whole, np.zeros(len(whole), bool), np.zeros(len(whole), np.float32))
    words = PromptWords(TokenTable.joined([row], tokenizer), others)
    found = words.copied(ids, is_target)
    assert not found[~is_target].any()
    assert tokenizer.decode(ids[found]).split() == copied.split()
