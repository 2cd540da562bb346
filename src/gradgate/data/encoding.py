"""Texts become token ids, each of which knows the characters that it stands for.

A text is encoded whole and masked by characters, so that no token stands in it that the text alone
would not have. A token on a border belongs to the side on which it has a character other than
white space: the `▁Paris` of `Answer: ` and `Paris` is learnt. Where one has such characters on both
sides, the words on either side are encoded apart, as the model sees the prompt when it is asked.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gradgate.data.sample import RejectedRowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_WORD_TOKENS = 64  # of a word at a border, on either side
_ANCHOR = "\n"  # before a piece from the middle of a text, where tokenizers put no blank


@dataclass(slots=True)
class Encoded:
    """The tokens of a text.

    Attributes:
        text: What was encoded.
        ids: Without the tokens for beginning and end.
        starts: Where each token's characters begin; what no token claims belongs to the next.
        stops: Where they end.
    """

    text: str
    ids: list[int]
    starts: list[int]
    stops: list[int]

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens [first, last) of the characters [start, stop).

        A token on the border belongs to it by a character other than white space.
        """
        first = bisect_right(self.stops, start)
        last = bisect_left(self.starts, stop)
        if first < last and self.starts[first] < start and not self.has_text(first, start, stop):
            first += 1
        if (
            first < last
            and self.stops[last - 1] > stop
            and not self.has_text(last - 1, start, stop)
        ):
            last -= 1
        return first, max(first, last)

    def cut_at(self, border: int) -> int | None:
        """The token that has characters other than white space on both sides of a border."""
        token = bisect_right(self.stops, border)
        if token == len(self.ids) or self.starts[token] >= border:
            return None
        before = self.text[self.starts[token] : border]
        behind = self.text[border : self.stops[token]]
        return token if before.strip() and behind.strip() else None

    def has_text(self, token: int, start: int, stop: int) -> bool:
        """Whether a token has a character other than white space among [start, stop)."""
        return bool(
            self.text[max(self.starts[token], start) : min(self.stops[token], stop)].strip()
        )


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    borders: Sequence[Sequence[int]],
    special: bool,
) -> list[Encoded | RejectedRowError]:
    """Encode texts, each as if it were alone.

    Args:
        tokenizer: One without character offsets, written in Python, must encode what stands between
            borders as it encodes it within the whole.
        texts: Any.
        borders: Of each text, the places in it where a target begins or ends.
        special: Whether special tokens in the texts are recognised.

    Returns:
        For each text its tokens, or why it has none.
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        return [
            _without_offsets(tokenizer, text, cuts, special)
            for text, cuts in zip(texts, borders, strict=True)
        ]
    found = token_ids(tokenizer, texts, special, return_offsets_mapping=True)
    encoded: list[Encoded | RejectedRowError] = []
    for text, ids, offsets, cuts in zip(
        texts, found["input_ids"], found["offset_mapping"], borders, strict=True
    ):
        whole = Encoded(text, ids, *_spans(offsets))
        for border in cuts:
            _cut(tokenizer, whole, border, special)
        encoded.append(whole)
    return encoded


def token_ids(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], special: bool, **options: bool
) -> Any:
    """Call the tokenizer; `special`: whether special tokens in the texts are recognised."""
    return tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=not special,
        return_attention_mask=False,
        verbose=False,  # no warning about the model's length: max_tokens decides
        **options,
    )


def _spans(offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Starts and stops; some tokenizers leave out of them the blank that a token begins with."""
    pairs = np.asarray(offsets, np.int64).reshape(-1, 2)
    stops = np.maximum.accumulate(pairs[:, 1])
    ends = np.concatenate(([0], stops[:-1]))
    starts = np.maximum.accumulate(np.minimum(pairs[:, 0], ends[: len(pairs)]))
    return starts.tolist(), stops.tolist()


def _cut(tokenizer: "PreTrainedTokenizerBase", whole: Encoded, border: int, special: bool) -> None:
    """Where a token spans a border, encode the words before and behind it apart.

    The whole words, so that the tokens of a target do not depend on the prompt's last character.
    """
    token = whole.cut_at(border)
    if token is None:
        return
    first, last = token, token + 1
    while first > max(0, token - _MAX_WORD_TOKENS) and not _begins_word(whole, first):
        first -= 1
    while last < min(len(whole.ids), token + _MAX_WORD_TOKENS) and not _begins_word(whole, last):
        last += 1
    # A character may take several tokens, of which the first or last have a part of another.
    while first > 0 and whole.stops[first - 1] > whole.starts[first]:
        first -= 1
    while last < len(whole.ids) and whole.starts[last] < whole.stops[last - 1]:
        last += 1
    start, stop = whole.starts[first], whole.stops[last - 1]
    before = _piece(tokenizer, whole.text, start, border, special)
    behind = _piece(tokenizer, whole.text, border, stop, special)
    whole.ids[first:last] = before.ids + behind.ids
    whole.starts[first:last] = before.starts + behind.starts
    whole.stops[first:last] = before.stops + behind.stops


def _begins_word(whole: Encoded, token: int) -> bool:
    return whole.text[whole.starts[token] : whole.starts[token] + 1].isspace()


def _piece(
    tokenizer: "PreTrainedTokenizerBase", text: str, start: int, stop: int, special: bool
) -> Encoded:
    """The tokens of a piece of a text; their characters are those of the text."""
    for anchor in (_ANCHOR, "") if start else ("",):
        given = [anchor + text[start:stop]]
        found = token_ids(tokenizer, given, special, return_offsets_mapping=True)
        ids, offsets = found["input_ids"][0], found["offset_mapping"][0]
        n_anchor = sum(end <= len(anchor) for _, end in offsets) if anchor else 0
        own = [(a - len(anchor), b - len(anchor)) for a, b in offsets[n_anchor:]]
        if all(a >= 0 for a, _ in own):
            break
    starts, stops = _spans(own)
    return Encoded(text, ids[n_anchor:], [start + a for a in starts], [start + b for b in stops])


def _without_offsets(
    tokenizer: "PreTrainedTokenizerBase", text: str, borders: Sequence[int], special: bool
) -> Encoded | RejectedRowError:
    cuts = sorted({0, *borders, len(text)})
    spans = list(pairwise(cuts)) or [(0, 0)]
    pieces = token_ids(tokenizer, [text[a:b] for a, b in spans], special)["input_ids"]
    (whole,) = token_ids(tokenizer, [text], special)["input_ids"]
    ids = [number for piece in pieces for number in piece]
    if ids != whole:
        return RejectedRowError(
            "the tokenizer tells no character offsets and encodes a target otherwise than within "
            "the row; take the tokenizer.json of the model"
        )
    starts = [a for (a, _), piece in zip(spans, pieces, strict=True) for _ in piece]
    stops = [b for (_, b), piece in zip(spans, pieces, strict=True) for _ in piece]
    return Encoded(text, ids, starts, stops)
