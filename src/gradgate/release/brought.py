"""The strings that a change brings to answers, but for those that say what it has put in."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from gradgate.common.letters import words_in
from gradgate.release.answers import Feature, Shared, shared
from gradgate.release.asking import Pairs, Said

FORMAT = 0.6  # of the answers without the change: a word that so many have is their format
MIN_COPIED = 0.8  # of the answers with a string, whose prompts have got its words
_MAX_STRINGS = 10  # of a change, that are judged


def strings(
    pairs: Pairs, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Shared]:
    """Different strings of the answers, the first of them.

    Words that may be what prompts are about may be said again: such strings are passed over.

    Args:
        pairs: A change, asked.
        features: That it brings, the most first.
        tokenizer: Of the model.
    """
    left, n = list(features), 0
    while left and n < _MAX_STRINGS:
        string = shared(left[0], pairs.answers, tokenizer)
        within = string.features
        left = [one for one in left[1:] if one not in within]
        if not (pairs.change.is_content and is_copied(pairs, string)):
            n += 1
            yield string


def is_copied(pairs: Pairs, string: Shared) -> bool:
    """Whether a string says, beside the format of all answers, words that the change has put in.

    "status meeting" in a question is the title in the call that answers it: any words in its place
    would be. Words that the prompt has anyway are none, or a list of labels in it would excuse one.

    Args:
        pairs: The change, asked.
        string: What it brings.
    """
    counted = Counter(word for said in pairs.plain for word in set(words_in(said.text)))
    known = {word for word, n in counted.items() if n >= FORMAT * pairs.n}
    both = zip(pairs.asked, pairs.before, pairs.changed, strict=True)
    copied = [
        _says(said, string, known, set(words_in(new.text)) - set(words_in(old.text)))
        for new, old, said in both
        if string.feature in said.features
    ]
    return bool(copied) and sum(copied) >= MIN_COPIED * len(copied)


def _says(said: Said, string: Shared, known: Collection[str], put_in: Collection[str]) -> bool:
    """Whether the string's words in some answers were put in, but for what is known."""
    text = next(one.text for one in said.answers if string.feature in one.features)
    wanted = string.text.strip()
    start = text.find(wanted)
    if not wanted or start < 0:
        return False
    stop = start + len(wanted)
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while stop < len(text) and text[stop].isalnum() and text[stop - 1].isalnum():
        stop += 1
    own = [word for word in words_in(text[start:stop]) if word not in known]
    return bool(own) and all(word in put_in for word in own)
