"""The whole extent of a span: n-grams of up to five words are counted, people read all of it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.association.corpus import Corpus

_MIN_AGREEMENT = 0.9  # part of the carriers that go on with the same word
_MAX_WORDS = 30
_MAX_CARRIERS = 100  # that are compared
_MAX_SPANS = 60  # that are extended


def whole_spans(corpus: Corpus, spans: Sequence[int], members: Marks, n_wanted: int) -> list[str]:
    """Spans as long as the targets of a group agree; none that is part of another.

    Args:
        corpus: The samples.
        spans: Numbers of spans, the most telling first.
        members: Samples of the group. (n,)
        n_wanted: Spans to return at most.
    """
    numbers = {word: number for number, word in enumerate(corpus.targets.vocabulary)}
    shown: list[str] = []
    for span in list(spans)[:_MAX_SPANS]:
        name = corpus.spans.names[span]
        gram = [numbers[word] for word in name.split(" ")]
        carriers = np.flatnonzero(corpus.spans.has(span) & members)[:_MAX_CARRIERS]
        whole = _extended([corpus.targets.words(i) for i in carriers], gram)
        text = " ".join(corpus.targets.vocabulary[word] for word in whole)
        if not any(f" {text} " in f" {other} " for other in shown):
            shown = [other for other in shown if f" {other} " not in f" {text} "]
            shown.append(text)
    return shown[:n_wanted]


def _extended(texts: list[Ints], gram: list[int]) -> list[int]:
    """The gram with the words on either side that nearly all texts have there."""
    places = [(text, at) for text in texts if (at := _place(text, gram)) is not None]
    whole = list(gram)
    for step in (1, -1):
        reach = len(gram) - 1 if step > 0 else 0
        while places and len(whole) < _MAX_WORDS:
            reach += step
            following = Counter(
                int(text[at + reach]) for text, at in places if 0 <= at + reach < len(text)
            )
            word, count = following.most_common(1)[0] if following else (0, 0)
            if not count or count < _MIN_AGREEMENT * len(places):
                break
            whole = [*whole, word] if step > 0 else [word, *whole]
    return whole


def _place(text: Ints, gram: list[int]) -> int | None:
    for at in np.flatnonzero(text[: len(text) - len(gram) + 1] == gram[0]):
        if text[at : at + len(gram)].tolist() == gram:
            return int(at)
    return None
