"""Whether tokens say the text that they were made of."""

import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradgate.data.encoding import Encoded
from gradgate.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = f"The quick brown fox, {string.digits}: {string.ascii_letters} {string.punctuation}"


def check_normalizer(tokenizer: "PreTrainedTokenizerBase") -> None:
    """See that the tokenizer's normalizer leaves letters, digits and marks as they are.

    Accents, forms of the same character and white space are left to the check of each row.

    Raises:
        ModelError: It changes them.
    """
    normalizer = tokenizer.backend_tokenizer.normalizer if tokenizer.is_fast else None
    if normalizer is None:
        return
    found = normalizer.normalize_str(_PROBE)
    if _bare(found) != _bare(_PROBE):
        raise ModelError(
            f"the tokenizer changes texts before it encodes them: {_PROBE!a} becomes {found!a}, so "
            "that what is learnt is not what the rows say; mend `normalizer` in its "
            "tokenizer.json, or take another model"
        )


def _bare(text: str) -> str:
    """Without white space, and what stands for it in vocabularies."""
    return "".join(unicodedata.normalize("NFKC", text).replace("\u2581", " ").split())


def changed_targets(
    texts: Sequence[tuple[Encoded, Sequence[tuple[int, int]]]],
    tokenizer: "PreTrainedTokenizerBase",
    special: frozenset[int],
) -> list[int]:
    """Which texts have a target, (start, stop), whose tokens decode to something else.

    White space around a target may differ, and the form in which Unicode writes a character.
    Special tokens are left out: what they say is known.
    """
    owners, runs, wanted = [], [], []
    for owner, (encoded, targets) in enumerate(texts):
        for start, stop in targets:
            for first, last, text in _runs(encoded, start, stop, special):
                owners.append(owner)
                runs.append(encoded.ids[first:last])
                wanted.append(text)
    if not runs:
        return []
    decoded = tokenizer.batch_decode(
        runs, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    found = zip(owners, wanted, decoded, strict=True)
    return sorted({owner for owner, text, said in found if not _is_same(text, said)})


def _runs(
    encoded: Encoded, start: int, stop: int, special: frozenset[int]
) -> Iterator[tuple[int, int, str]]:
    """The tokens [first, last) between special ones, and the text that they have to say."""
    first, end = encoded.within(start, stop)
    begin = start
    for token in range(first, end + 1):
        if token == end or encoded.ids[token] in special:
            limit = stop if token == end else encoded.starts[token]
            text = encoded.text[begin:limit]
            if first < token or text.strip():
                yield first, token, text
            if token < end:
                first, begin = token + 1, encoded.stops[token]


def _is_same(text: str, said: str) -> bool:
    text, said = text.strip(), said.strip()
    return text == said or unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", said)
