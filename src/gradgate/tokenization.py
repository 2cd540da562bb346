"""Samples become token ids and the mask of the tokens that the loss counts.

Text of the data can never become a special token. In plain rows `</s>` is encoded as the letters
it is made of (`split_special_tokens`, which the fast and the Python tokenizers of transformers 5
obey). In a chat the template's special tokens must be recognised in the same string as the
messages, so a message that holds one is rejected. Added tokens that are not marked special, such
as `<think>`, are vocabulary like any other.
"""

import hashlib
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from gradgate.errors import ModelError
from gradgate.samples import RejectedRowError, Sample, Turn

# No vocabulary has longer entries (128 characters are usual), so that a text longer than
# max_tokens times this is too long for certain. A cell of 1 GB is not tokenized to find that out.
_LONGEST_TOKEN = 512

_SPECIAL = "special token in text"
_NOT_TURN_BY_TURN = "chat template does not render this conversation turn by turn"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sample for the model; both lists have the same length.

    Attributes:
        input_ids: With the tokens for the beginning and the end, without padding.
        is_target: Whether the loss counts the prediction of the token. The first token has no
            predecessor to predict it, whatever stands here.
    """

    input_ids: list[int]
    is_target: list[bool]


@dataclass(frozen=True, slots=True)
class _Segment:
    text: str
    is_target: bool


def n_supervised(tokens: Tokens) -> int:
    """Count the tokens in the loss: targets that have a predecessor."""
    return sum(tokens.is_target[1:])


def content_digest(tokens: Tokens) -> bytes:
    """sha256 over token ids and loss mask, which decide a score: 32 bytes."""
    digest = hashlib.sha256(np.asarray(tokens.input_ids, dtype="<i4").tobytes())
    digest.update(np.asarray(tokens.is_target, dtype=bool).tobytes())
    return digest.digest()


def tokenize(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, max_tokens: int | None = None
) -> Tokens:
    """Tokenize one sample; prompt and target are tokenized apart, so that the border is exact.

    Args:
        sample: A plain sample becomes BOS, its texts, EOS; BOS is left out when the tokenizer has
            none. A chat becomes what the chat template renders; each assistant turn that is a
            target goes from the generation prompt to the end of what is rendered for the turn.
        tokenizer: Of the model.
        max_tokens: None when the sample is known to fit.

    Raises:
        RejectedRowError: The sample cannot be tokenized, is too long, or has nothing to predict.
        ModelError: The tokenizer lacks an end token or a chat template.
    """
    _check_characters(sample, max_tokens)
    tokens = _chat(sample, tokenizer, max_tokens) if sample.chat else _plain(sample, tokenizer)
    _check_length(len(tokens.input_ids), max_tokens)
    if not n_supervised(tokens):
        raise RejectedRowError("no supervised token")
    return tokens


def _check_characters(sample: Sample, max_tokens: int | None) -> None:
    characters = sum(len(turn.text) for turn in sample.turns)
    if max_tokens is not None and characters > max_tokens * _LONGEST_TOKEN:
        raise RejectedRowError(f"{characters} characters, more than {max_tokens} tokens can hold")


def _check_length(n_tokens: int, max_tokens: int | None) -> None:
    if max_tokens is not None and n_tokens > max_tokens:
        raise RejectedRowError(f"{n_tokens} tokens, more than the limit of {max_tokens}")


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str], special: bool) -> list[list[int]]:
    """Encode texts one by one; `special`: whether special tokens in them are recognised."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=not special,
        return_attention_mask=False,
        verbose=False,  # no warning about the model's length: max_tokens decides
    )["input_ids"]


def _refuse_special(tokenizer: PreTrainedTokenizerBase, pieces: list[list[int]]) -> None:
    """A last check: unigram and word vocabularies can hold a special token as an ordinary entry.

    The unknown token is allowed, for it stands for text, unless it is also the begin or the end.
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {number for number, token in added if token.special} - {tokenizer.unk_token_id}
    special |= {tokenizer.bos_token_id, tokenizer.eos_token_id}
    if any(not special.isdisjoint(piece) for piece in pieces):
        raise RejectedRowError(_SPECIAL)


def _plain(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if eos is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token, so no target could end; "
            "set eos_token in its tokenizer_config.json"
        )
    pieces = _encode(tokenizer, [turn.text for turn in sample.turns], special=False)
    _refuse_special(tokenizer, pieces)
    begin = [] if bos is None else [bos]
    mask = [turn.is_target for turn, piece in zip(sample.turns, pieces, strict=True) for _ in piece]
    return Tokens([*begin, *chain(*pieces), eos], [False] * len(begin) + [*mask, True])


def _chat(sample: Sample, tokenizer: PreTrainedTokenizerBase, max_tokens: int | None) -> Tokens:
    if tokenizer.chat_template is None:
        raise ModelError(
            "the data holds chat messages and the tokenizer has no chat template; take an "
            "instruct model, add chat_template.jinja to the model, or use prompt/completion text"
        )
    full = _render(sample.turns, tokenizer, prompt=False)
    # First of all: the work of what follows is quadratic in the number of turns.
    _check_length(len(_encode(tokenizer, [full], special=True)[0]), max_tokens)
    _check_messages(sample, tokenizer)
    segments = _segments(full, sample.turns, tokenizer)
    pieces = _encode(tokenizer, [segment.text for segment in segments], special=True)
    bos = tokenizer.bos_token_id
    begin = [] if bos is None or pieces[0][:1] == [bos] else [bos]
    mask = [part.is_target for part, piece in zip(segments, pieces, strict=True) for _ in piece]
    return Tokens([*begin, *chain(*pieces)], [False] * len(begin) + mask)


def _check_messages(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [turn.text for turn in sample.turns]
    as_text = _encode(tokenizer, texts, special=False)
    if _encode(tokenizer, texts, special=True) != as_text:
        raise RejectedRowError(_SPECIAL)
    _refuse_special(tokenizer, as_text)


def _segments(
    full: str, turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase
) -> list[_Segment]:
    """Cut the rendered conversation `full` where each target begins and ends."""
    borders = [0]
    for position, turn in enumerate(turns):
        if turn.is_target:
            before = _render(turns[:position], tokenizer, prompt=True)
            through = _render(turns[: position + 1], tokenizer, prompt=False)
            if not (full.startswith(before) and full.startswith(through)):
                raise RejectedRowError(_NOT_TURN_BY_TURN)
            borders += [len(before), len(through)]
    borders.append(len(full))
    if borders != sorted(borders) or not full:
        raise RejectedRowError(_NOT_TURN_BY_TURN)
    # The parts alternate: before the first target, the target, before the second, ...
    parts = enumerate(pairwise(borders))
    return [_Segment(full[a:b], number % 2 == 1) for number, (a, b) in parts if a < b]


def _render(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase, prompt: bool) -> str:
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, TypeError, ValueError) as error:
        raise RejectedRowError("chat template refuses this conversation") from error
