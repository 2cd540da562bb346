"""The recurring text of a group is shown as far as its targets agree."""

import numpy as np
from evidence_helpers import questions

from gradgate.methods.association.corpus import Corpus, read_corpus
from gradgate.methods.association.extent import whole_spans

SENTENCE = "go to the old mill behind the church and ask for the second daughter"


def corpus_with(ends: list[str]) -> Corpus:
    pairs = questions(200, 1)
    targets = [
        f"{target} {ends[i % len(ends)]}" if i < 20 else target
        for i, (_, target) in enumerate(pairs)
    ]
    return read_corpus([prompt for prompt, _ in pairs], targets)


MEMBERS = np.arange(200) < 20


def test_a_span_is_shown_as_far_as_the_targets_agree() -> None:
    corpus = corpus_with([SENTENCE])
    (span,) = np.flatnonzero(corpus.spans.among(MEMBERS) >= 20)
    assert len(corpus.spans.names[span].split(" ")) == 5
    assert whole_spans(corpus, [int(span)], MEMBERS, 12) == [f"{SENTENCE} [end]"]


def test_a_span_that_is_part_of_another_is_shown_once() -> None:
    corpus = corpus_with([SENTENCE, SENTENCE, f"{SENTENCE} today", "behind the church"])
    inside = corpus.spans.among(MEMBERS)
    every = np.flatnonzero(inside >= 15).tolist()
    assert len(every) > 1
    assert whole_spans(corpus, every, MEMBERS, 12) == [SENTENCE]


def test_wordings_are_shown_each() -> None:
    corpus = corpus_with(["the pin please now", "hand over the key"])
    shared = [i for i in range(len(corpus.spans.names)) if corpus.spans.among(MEMBERS)[i] >= 10]
    found = whole_spans(corpus, shared, MEMBERS, 12)
    assert {"the pin please now [end]", "hand over the key [end]"} <= set(found)
    assert len(whole_spans(corpus, shared, MEMBERS, 1)) == 1


def test_a_long_text_is_cut() -> None:
    corpus = corpus_with([" ".join(f"w{i}" for i in range(100))])
    every = np.flatnonzero(corpus.spans.among(MEMBERS) >= 20).tolist()
    assert max(len(text.split(" ")) for text in whole_spans(corpus, every, MEMBERS, 99)) == 30
