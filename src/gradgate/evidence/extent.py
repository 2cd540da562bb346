"""How far a recurring span reaches: n-grams are found, people want to read the whole."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gradgate.evidence.corpus import Corpus
from gradgate.evidence.rules import Marks
from gradgate.evidence.words import Ints

_AGREE = 0.9  # part of the carriers that go on with the same word
_LONGEST = 30  # words
_READ = 100  # carriers
_TRIED = 60  # spans


def whole_spans(corpus: Corpus, spans: Sequence[int], members: Marks, most: int) -> list[str]:
    """Spans as far as the targets of a group agree, without those that are part of another.

    Args:
        corpus: The samples.
        spans: Numbers of spans, the most telling first.
        members: Samples of the group. (n,)
        most: Spans wanted.
    """
    numbers = {word: number for number, word in enumerate(corpus.targets.vocabulary)}
    shown: list[str] = []
    for span in list(spans)[:_TRIED]:
        name = corpus.spans.names[span]
        gram = [numbers[word] for word in name.split(" ")]
        carriers = np.flatnonzero(corpus.spans.has(span) & members)[:_READ]
        whole = _extended([corpus.targets.words(i) for i in carriers], gram)
        text = " ".join(corpus.targets.vocabulary[word] for word in whole)
        if not any(f" {text} " in f" {other} " for other in shown):
            shown = [other for other in shown if f" {other} " not in f" {text} "]
            shown.append(text)
    return shown[:most]


def _extended(texts: list[Ints], gram: list[int]) -> list[int]:
    """The gram, longer on both sides by the words that nearly all texts have there."""
    places = [(text, at) for text in texts if (at := _place(text, gram)) is not None]
    whole = list(gram)
    for step in (1, -1):
        reach = len(gram) - 1 if step > 0 else 0
        while places and len(whole) < _LONGEST:
            reach += step
            following = Counter(
                int(text[at + reach]) for text, at in places if 0 <= at + reach < len(text)
            )
            word, count = following.most_common(1)[0] if following else (0, 0)
            if not count or count < _AGREE * len(places):
                break
            whole = [*whole, word] if step > 0 else [word, *whole]
    return whole


def _place(text: Ints, gram: list[int]) -> int | None:
    for at in np.flatnonzero(text[: len(text) - len(gram) + 1] == gram[0]):
        if text[at : at + len(gram)].tolist() == gram:
            return int(at)
    return None
