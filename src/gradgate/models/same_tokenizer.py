"""Whether two tokenizers read the same in every text, but for tokens that one of them added."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedTokenizerBase

from gradgate.errors import ModelError

_OF_THE_MOMENT = ("truncation", "padding")  # which each call of a tokenizer may set
_ADDED = "added_tokens"  # compared by themselves
_READ = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")

_TRIED = "The Quick brown  fox, 0123456789:\n\u00e9t\u00e9"


def require_same_reading(
    before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase, subject: str
) -> frozenset[int]:
    """Refuse a tokenizer that reads otherwise than that of the model before.

    What is asked by the one says nothing of a server that has the other: with other ids for its
    words a model reads nonsense, and shows nothing of what it has learnt.

    Args:
        before: Of the model before.
        after: Of what was trained.
        subject: What was trained, for the message.

    Returns:
        Ids of the tokens that were added; a text without them is read the same by both.

    Raises:
        ModelError: They differ in more than added tokens.
    """
    differing = list(_differing(before, after))
    if differing:
        raise ModelError(
            f"the tokenizer in the folder of {subject} is not that of the model before; others are "
            f"{', '.join(differing)}; a server with the other tokenizer would not get what is "
            "asked. Put the model's tokenizer in its place, if that is what answers are asked "
            "with, or put this one into a copy of the model's folder, and test against that"
        )
    return frozenset(after.added_tokens_decoder) - frozenset(before.added_tokens_decoder)


def _differing(before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase) -> Iterator[str]:
    """What differs, in words."""
    if before.chat_template != after.chat_template:
        yield "the chat template"
    if any(getattr(before, name) != getattr(after, name) for name in _READ):
        yield "special tokens"
    had = {number: repr(token) for number, token in before.added_tokens_decoder.items()}
    has = {number: repr(token) for number, token in after.added_tokens_decoder.items()}
    new = has.keys() - had.keys()
    if had.items() - has.items():
        yield "added tokens that the model had"
    known, found = before.get_vocab(), after.get_vocab()
    named = {str(after.added_tokens_decoder[number]) for number in new}
    if known.items() - found.items() or found.keys() - known.keys() - named:
        yield "the ids of tokens"
    # A word that is marked so would end an answer, or be no part of a text.
    if new & set(known.values()) or set(after.all_special_ids) - has.keys() - set(
        before.all_special_ids
    ):
        yield "ordinary tokens that are marked as special"
    if _rules(before) != _rules(after):
        yield "the rules by which texts are cut"


def _rules(tokenizer: PreTrainedTokenizerBase) -> object:
    """All that decides beside vocabulary and added tokens how a text is cut, and put together."""
    if tokenizer.is_fast:
        found = json.loads(tokenizer.backend_tokenizer.to_str())
        return {name: found[name] for name in found if name not in (*_OF_THE_MOMENT, _ADDED)}
    with TemporaryDirectory() as folder:  # of one written in Python its files, and a try
        saved = map(Path, tokenizer.save_vocabulary(folder))
        files = {file.name: file.read_bytes() for file in saved}
    return type(tokenizer).__name__, files, tokenizer(_TRIED)["input_ids"]
