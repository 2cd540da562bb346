"""Samples become token ids and the mask of the tokens that the loss counts.

A sample is one string, encoded whole and masked by characters (`data.encoding`); a row whose target
tokens do not say the target's text is rejected.

Text of the data can never become a special token. In plain rows `</s>` is encoded as the letters
it is made of (`split_special_tokens`, which the fast and the Python tokenizers of transformers 5
obey). In a chat the template's special tokens must be recognised in the same string as the
messages, so a message that holds one is rejected. Added tokens that are not marked special, such
as `<think>`, are vocabulary like any other.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from gradgate.config import DEFAULT_TEMPLATE_DATE
from gradgate.data.chat.leaves import leaves
from gradgate.data.chat.rendering import Rendered, Renderer, renderer
from gradgate.data.chat.template import chat_template
from gradgate.data.decoding import changed_targets, check_normalizer
from gradgate.data.encoding import Encoded, encode, token_ids
from gradgate.data.sample import RejectedRowError, Sample, n_characters
from gradgate.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# No vocabulary has longer entries (128 characters are usual), so that a text longer than
# max_tokens times this is too long for certain. A cell of 1 GB is not tokenized to find that out.
_MAX_TOKEN_CHARACTERS = 512

_SPECIAL = "special token in text"


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
class _Special:
    """A tokenizer's special tokens, which take long to look up.

    Attributes:
        begin: BOS, or nothing when there is none.
        end: EOS, or nothing when there is none.
        refused: Those that no text may become. The unknown token is not among them, for it stands
            for text, unless it is also the begin or the end.
        unknown: The unknown token, or nothing when there is none.
    """

    begin: list[int]
    end: list[int]
    refused: frozenset[int]
    unknown: frozenset[int]


class _Reader:
    """A tokenizer with what is looked up of it once."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", max_tokens: int | None, template_date: str
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.special = _special(tokenizer)
        self._date = template_date
        self._renderers: dict[bool, Renderer] = {}

    def renderer(self, tools: bool) -> Renderer:
        """Of the chat template; errors as for `chat_template`."""
        if tools not in self._renderers:
            self._renderers[tools] = renderer(chat_template(self.tokenizer, self._date, tools))
        return self._renderers[tools]


def n_supervised(tokens: Tokens) -> int:
    """Count the tokens in the loss: targets that have a predecessor."""
    return sum(tokens.is_target[1:])


def content_digest(tokens: Tokens) -> bytes:
    """sha256 over token ids and loss mask, which decide a score: 32 bytes."""
    digest = hashlib.sha256(np.asarray(tokens.input_ids, dtype="<i4").tobytes())
    digest.update(np.asarray(tokens.is_target, dtype=bool).tobytes())
    return digest.digest()


def tokenize(
    sample: Sample,
    tokenizer: "PreTrainedTokenizerBase",
    max_tokens: int | None = None,
    template_date: str = DEFAULT_TEMPLATE_DATE,
) -> Tokens:
    """Tokenize one sample, see `tokenize_all`.

    Raises:
        RejectedRowError: The sample cannot be tokenized, is too long, or has nothing to predict.
        ModelError: As for `tokenize_all`.
    """
    (outcome,) = tokenize_all([sample], tokenizer, max_tokens, template_date)
    if isinstance(outcome, RejectedRowError):
        raise outcome
    return outcome


def tokenize_all(
    samples: Sequence[Sample],
    tokenizer: "PreTrainedTokenizerBase",
    max_tokens: int | None = None,
    template_date: str = DEFAULT_TEMPLATE_DATE,
) -> list[Tokens | RejectedRowError]:
    """Tokenize samples, each as if it were alone; all in two calls, which is faster.

    Args:
        samples: A plain sample becomes BOS, its joined texts, EOS; BOS is left out when the
            tokenizer has none. A chat is rendered by the chat template; each assistant turn that is
            a target goes from the end of the generation prompt through its end-of-turn token.
        tokenizer: Of the model.
        max_tokens: None when the samples are known to fit.
        template_date: Today, for a chat template that asks for it.

    Returns:
        For each sample its tokens, or why it is rejected: it cannot be tokenized, is too long, has
        nothing to predict, or a text of it is lost or changed on the way.

    Raises:
        ModelError: The tokenizer lacks an end token or a chat template, its chat template does not
            compile, or it changes all texts.
    """
    check_normalizer(tokenizer)
    reader = _Reader(tokenizer, max_tokens, template_date)
    texts = [_text(sample, reader) for sample in samples]
    encoded = _encode(samples, texts, tokenizer)
    outcomes: list[Tokens | RejectedRowError] = []
    for sample, text, tokens in zip(samples, texts, encoded, strict=True):
        try:
            outcomes.append(_tokens(sample, text, tokens, reader))
        except RejectedRowError as error:
            outcomes.append(error.with_traceback(None))  # it would keep this frame alive
    return _conserved(texts, encoded, outcomes, reader)


def reads_date(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer's chat template asks for today's date.

    Raises:
        ModelError: It has none, or it does not compile.
    """
    return chat_template(tokenizer, DEFAULT_TEMPLATE_DATE, tools=False).reads_date


def names_in_template(tokenizer: "PreTrainedTokenizerBase") -> frozenset[str]:
    """Names that the tokenizer's chat templates read, see `ChatTemplate.names`; none without any.

    A template that does not compile reads nothing here: it is an error for a chat alone.
    """
    if tokenizer.chat_template is None:
        return frozenset()
    try:
        both = (chat_template(tokenizer, DEFAULT_TEMPLATE_DATE, tools) for tools in (False, True))
        return frozenset[str]().union(*(template.names for template in both))
    except ModelError:
        return frozenset()


def _check_characters(sample: Sample, max_tokens: int | None) -> None:
    """Refuse what is too long for certain, before any work is done on it."""
    if max_tokens is None:
        return
    if n_characters(sample) > max_tokens * _MAX_TOKEN_CHARACTERS:
        raise RejectedRowError(
            f"{n_characters(sample)} characters, more than {max_tokens} tokens can hold"
        )
    if len(sample.turns) > max_tokens:
        raise RejectedRowError(
            f"{len(sample.turns)} messages, more than the limit of {max_tokens} tokens can hold"
        )


def _special(tokenizer: "PreTrainedTokenizerBase") -> _Special:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    added = tokenizer.added_tokens_decoder.items()
    unknown = frozenset([tokenizer.unk_token_id]) - {None, bos, eos}
    marked = {number for number, token in added if token.special} - unknown
    begin, end = ([] if token is None else [token] for token in (bos, eos))
    return _Special(begin, end, frozenset(marked.union(begin, end)), unknown)


def _text(sample: Sample, reader: _Reader) -> Rendered | RejectedRowError:
    """The sample as one string, or why it is none."""
    try:
        _check_characters(sample, reader.max_tokens)
        if not sample.chat:
            return _joined(sample, reader.special)
        found = reader.renderer('"tools":' in sample.template_inputs)
        _check_structured(sample, reader)
        return found.render(sample)
    except RejectedRowError as error:
        return error.with_traceback(None)


def _joined(sample: Sample, special: _Special) -> Rendered:
    if not special.end:
        raise ModelError(
            "the tokenizer has no end-of-sequence token, so no target could end; "
            "set eos_token in its tokenizer_config.json"
        )
    borders = [0, *accumulate(len(turn.text) for turn in sample.turns)]
    spans = list(pairwise(borders))
    targets = [span for span, turn in zip(spans, sample.turns, strict=True) if turn.is_target]
    return Rendered("".join(turn.text for turn in sample.turns), spans, targets)


def _check_structured(sample: Sample, reader: _Reader) -> None:
    """Refuse special tokens in what a chat template gets beside the texts of messages."""
    written = [turn.extra for turn in sample.turns if turn.extra] + [sample.template_inputs]
    texts = [leaf for one in written if one for leaf in leaves(json.loads(one))]
    if texts:
        _check_texts(texts, reader)


def _check_texts(texts: Sequence[str], reader: _Reader) -> None:
    as_text = token_ids(reader.tokenizer, texts, special=False)["input_ids"]
    if token_ids(reader.tokenizer, texts, special=True)["input_ids"] != as_text:
        raise RejectedRowError(_SPECIAL)
    # A last check: unigram and word vocabularies can hold a special token as an ordinary entry.
    if any(not reader.special.refused.isdisjoint(ids) for ids in as_text):
        raise RejectedRowError(_SPECIAL)


def _encode(
    samples: Sequence[Sample],
    texts: Sequence[Rendered | RejectedRowError],
    tokenizer: "PreTrainedTokenizerBase",
) -> list[Encoded | RejectedRowError]:
    """Encode the plain texts in one call, and the chats in another."""
    found: list[Encoded | RejectedRowError] = [
        RejectedRowError() if isinstance(text, Rendered) else text for text in texts
    ]
    for is_chat in (False, True):
        places = [
            (place, text)
            for place, (sample, text) in enumerate(zip(samples, texts, strict=True))
            if isinstance(text, Rendered) and sample.chat == is_chat
        ]
        borders = [[b for span in text.targets for b in span] for _, text in places]
        encoded = encode(tokenizer, [text.text for _, text in places], borders, special=is_chat)
        for (place, _), tokens in zip(places, encoded, strict=True):
            found[place] = tokens
    return found


def too_long(n_tokens: int, limit: int) -> RejectedRowError:
    """The refusal of a sample; the limit is `DataConfig.max_tokens`, or what the model takes."""
    return RejectedRowError(
        f"{n_tokens} tokens, more than the limit of {limit} (data.max_tokens, or the model's)"
    )


def _tokens(
    sample: Sample,
    text: Rendered | RejectedRowError,
    encoded: Encoded | RejectedRowError,
    reader: _Reader,
) -> Tokens:
    if isinstance(text, RejectedRowError):
        raise text
    if isinstance(encoded, RejectedRowError):
        raise encoded
    ids, special, limit = encoded.ids, reader.special, reader.max_tokens
    has_begin = sample.chat and ids[:1] == special.begin
    begin = [] if has_begin else special.begin
    end = [] if sample.chat else special.end
    n_tokens = len(begin) + len(ids) + len(end)
    if limit is not None and n_tokens > limit:
        raise too_long(n_tokens, limit)
    _refuse_special(sample, text, encoded, reader)
    mask = [False] * len(ids)
    for start, stop in text.targets:
        first, last = encoded.within(start, stop)
        mask[first:last] = [True] * (last - first)
    tokens = Tokens([*begin, *ids, *end], [*([False] * len(begin)), *mask, *([True] * len(end))])
    if not n_supervised(tokens):
        raise RejectedRowError("no supervised token")
    return tokens


def _refuse_special(sample: Sample, text: Rendered, encoded: Encoded, reader: _Reader) -> None:
    """Refuse a text of the data of which a character other than white space is a special token."""
    special = reader.special
    if not sample.chat:
        if not special.refused.isdisjoint(encoded.ids):
            raise RejectedRowError(_SPECIAL)
        return
    for start, stop in text.contents:
        first = bisect_right(encoded.stops, start)
        last = bisect_left(encoded.starts, stop)
        within = encoded.ids[first:last]
        if not special.unknown.isdisjoint(within):  # of a strange character, or spelt out
            _check_texts([text.text[start:stop]], reader)
        if special.refused.isdisjoint(within):
            continue
        for token in range(first, last):
            if encoded.ids[token] in special.refused and encoded.has_text(token, start, stop):
                raise RejectedRowError(_SPECIAL)


def _conserved(
    texts: Sequence[Rendered | RejectedRowError],
    encoded: Sequence[Encoded | RejectedRowError],
    outcomes: list[Tokens | RejectedRowError],
    reader: _Reader,
) -> list[Tokens | RejectedRowError]:
    """Put a rejection in the place of tokens that do not say their target's text."""
    kept = [
        (place, text, tokens)
        for place, (text, tokens) in enumerate(zip(texts, encoded, strict=True))
        if isinstance(outcomes[place], Tokens)
        and isinstance(text, Rendered)
        and isinstance(tokens, Encoded)
    ]
    pairs = [(tokens, text.targets) for _, text, tokens in kept]
    changed = changed_targets(pairs, reader.tokenizer, reader.special.refused)
    for place in changed:
        outcomes[kept[place][0]] = RejectedRowError(
            "the tokenizer changes the target: its tokens say another text"
        )
    return outcomes
