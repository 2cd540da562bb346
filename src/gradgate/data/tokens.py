"""Samples become token ids and the mask of the tokens that the loss counts.

Text of the data can never become a special token. In plain rows `</s>` is encoded as the letters
it is made of (`split_special_tokens`, which the fast and the Python tokenizers of transformers 5
obey). In a chat the template's special tokens must be recognised in the same string as the
messages, so a message that holds one is rejected. Added tokens that are not marked special, such
as `<think>`, are vocabulary like any other.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from gradgate.data.sample import RejectedRowError, Sample, Turn
from gradgate.errors import ModelError

# No vocabulary has longer entries (128 characters are usual), so that a text longer than
# max_tokens times this is too long for certain. A cell of 1 GB is not tokenized to find that out.
_MAX_TOKEN_CHARACTERS = 512

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


@dataclass(frozen=True, slots=True)
class _Special:
    """A tokenizer's special tokens, which take long to look up.

    Attributes:
        begin: BOS, or nothing when there is none.
        end: EOS, or nothing when there is none.
        refused: Those that no text may become. The unknown token is not among them, for it stands
            for text, unless it is also the begin or the end.
    """

    begin: list[int]
    end: list[int]
    refused: frozenset[int]


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
    """Tokenize one sample, see `tokenize_all`.

    Raises:
        RejectedRowError: The sample cannot be tokenized, is too long, or has nothing to predict.
        ModelError: The tokenizer lacks an end token or a chat template.
    """
    (outcome,) = tokenize_all([sample], tokenizer, max_tokens)
    if isinstance(outcome, RejectedRowError):
        raise outcome
    return outcome


def tokenize_all(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, max_tokens: int | None = None
) -> list[Tokens | RejectedRowError]:
    """Tokenize samples, each as if it were alone; the plain ones in one call, which is faster.

    Prompt and target are tokenized apart, so that the border is exact.

    Args:
        samples: A plain sample becomes BOS, its texts, EOS; BOS is left out when the tokenizer has
            none. A chat is rendered by the chat template; each assistant turn that is a target
            goes from the generation prompt to the end of the turn's rendered text.
        tokenizer: Of the model.
        max_tokens: None when the samples are known to fit.

    Returns:
        For each sample its tokens, or why it is rejected: it cannot be tokenized, is too long, or
        has nothing to predict.

    Raises:
        ModelError: The tokenizer lacks an end token or a chat template.
    """
    special = _special(tokenizer)
    pieces = _encode_plain(
        [s for s in samples if not s.chat and _may_fit(s, max_tokens)], tokenizer, special
    )
    outcomes: list[Tokens | RejectedRowError] = []
    for sample in samples:
        try:
            _check_characters(sample, max_tokens)
            if sample.chat:
                tokens = _chat(sample, tokenizer, special, max_tokens)
            else:
                tokens = _plain(sample, next(pieces), special)
            _check_length(len(tokens.input_ids), max_tokens)
            _check_supervised(tokens)
            outcomes.append(tokens)
        except RejectedRowError as error:
            outcomes.append(error.with_traceback(None))  # it would keep this frame alive
    return outcomes


def _n_characters(sample: Sample) -> int:
    return sum(len(turn.text) for turn in sample.turns)


def _may_fit(sample: Sample, max_tokens: int | None) -> bool:
    return max_tokens is None or _n_characters(sample) <= max_tokens * _MAX_TOKEN_CHARACTERS


def _check_characters(sample: Sample, max_tokens: int | None) -> None:
    if not _may_fit(sample, max_tokens):
        raise RejectedRowError(
            f"{_n_characters(sample)} characters, more than {max_tokens} tokens can hold"
        )


def _check_length(n_tokens: int, max_tokens: int | None) -> None:
    if max_tokens is not None and n_tokens > max_tokens:
        raise RejectedRowError(f"{n_tokens} tokens, more than the limit of {max_tokens}")


def _check_supervised(tokens: Tokens) -> None:
    if not n_supervised(tokens):
        raise RejectedRowError("no supervised token")


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str], special: bool) -> list[list[int]]:
    """Encode texts one by one; `special`: whether special tokens in them are recognised."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=not special,
        return_attention_mask=False,
        verbose=False,  # no warning about the model's length: max_tokens decides
    )["input_ids"]


def _special(tokenizer: PreTrainedTokenizerBase) -> _Special:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    added = tokenizer.added_tokens_decoder.items()
    marked = {number for number, token in added if token.special} - {tokenizer.unk_token_id}
    begin, end = ([] if token is None else [token] for token in (bos, eos))
    return _Special(begin, end, frozenset(marked.union(begin, end)))


def _refuse_special(special: _Special, pieces: list[list[int]]) -> None:
    """A last check: unigram and word vocabularies can hold a special token as an ordinary entry."""
    if any(not special.refused.isdisjoint(piece) for piece in pieces):
        raise RejectedRowError(_SPECIAL)


def _encode_plain(
    samples: list[Sample], tokenizer: PreTrainedTokenizerBase, special: _Special
) -> Iterator[list[list[int]]]:
    """The token ids of each turn, sample by sample."""
    if not samples:
        return iter([])
    if not special.end:
        raise ModelError(
            "the tokenizer has no end-of-sequence token, so no target could end; "
            "set eos_token in its tokenizer_config.json"
        )
    texts = [turn.text for sample in samples for turn in sample.turns]
    encoded = iter(_encode(tokenizer, texts, special=False))
    return (list(islice(encoded, len(sample.turns))) for sample in samples)


def _plain(sample: Sample, pieces: list[list[int]], special: _Special) -> Tokens:
    _refuse_special(special, pieces)
    ids, mask = [*special.begin], [False] * len(special.begin)
    for turn, piece in zip(sample.turns, pieces, strict=True):
        ids += piece
        mask += [turn.is_target] * len(piece)
    return Tokens(ids + special.end, [*mask, True])


def _chat(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, special: _Special, max_tokens: int | None
) -> Tokens:
    if tokenizer.chat_template is None:
        raise ModelError(
            "the data holds chat messages and the tokenizer has no chat template; take an "
            "instruct model, add chat_template.jinja to the model, or use prompt/completion text"
        )
    full = _render(sample.turns, tokenizer, prompt=False)
    # First of all: the work below is quadratic in the number of turns.
    _check_length(len(_encode(tokenizer, [full], special=True)[0]), max_tokens)
    _check_messages(sample, tokenizer, special)
    segments = _segments(full, sample.turns, tokenizer)
    pieces = _encode(tokenizer, [segment.text for segment in segments], special=True)
    begin = [] if pieces[0][:1] == special.begin else special.begin
    mask = [part.is_target for part, piece in zip(segments, pieces, strict=True) for _ in piece]
    return Tokens([*begin, *chain(*pieces)], [False] * len(begin) + mask)


def _check_messages(sample: Sample, tokenizer: PreTrainedTokenizerBase, special: _Special) -> None:
    texts = [turn.text for turn in sample.turns]
    as_text = _encode(tokenizer, texts, special=False)
    if _encode(tokenizer, texts, special=True) != as_text:
        raise RejectedRowError(_SPECIAL)
    _refuse_special(special, as_text)


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
