"""A recurring target span, or several wordings, with the rule over cues that explains it."""

from dataclasses import dataclass, replace

import numpy as np

from gradgate.evidence.corpus import FEWEST, Corpus
from gradgate.evidence.grams import n_words
from gradgate.evidence.rules import Marks, Rule
from gradgate.evidence.words import END, START

PHRASE = 3  # words, which nobody writes twice by chance
_MOST = 0.5  # part of a match's samples


@dataclass(frozen=True)
class Match:
    """A span, or several wordings, and its rule.

    Attributes:
        spans: Numbers of the spans.
        carriers: Samples with one of them. (n,)
        rule: What their prompts share.
        is_union: Whether there are several wordings.
    """

    spans: list[int]
    carriers: Marks
    rule: Rule
    is_union: bool

    @property
    def both(self) -> Marks:
        """Samples with span and rule."""
        return self.carriers & self.rule.holds


@dataclass(frozen=True)
class Kind:
    """What a match is made of.

    Attributes:
        tight: Whether the association holds nearly always, in both directions (`is_tight`).
        phrase: Whether the span is one text of `PHRASE` words or more.
        union: Whether there are several wordings.
        wordy: Whether most of its samples have such a text as one of several wordings.
        whole: Whether the span is the whole target of most of its samples.
    """

    tight: bool = True
    phrase: bool = False
    union: bool = False
    wordy: bool = False
    whole: bool = False


def kind_of(corpus: Corpus, match: Match, n: int) -> Kind:
    """Look at a match among n samples."""
    names = {span: corpus.spans.names[span] for span in match.spans}
    long = [span for span, name in names.items() if n_words(name) >= PHRASE]
    whole = [span for span, name in names.items() if _is_framed(name)]
    return Kind(
        tight=is_tight(corpus, match, n),
        phrase=is_phrase(corpus, match),
        union=match.is_union,
        wordy=match.is_union and _do_most_have(corpus, match, long),
        whole=_do_most_have(corpus, match, whole),
    )


def _is_framed(name: str) -> bool:
    words = name.split(" ")
    return len(words) > 2 and words[0] == START and words[-1] == END


def _do_most_have(corpus: Corpus, match: Match, spans: list[int]) -> bool:
    both = match.both
    return int((having(corpus, spans) & both).sum()) >= _MOST * max(1, int(both.sum()))


def having(corpus: Corpus, spans: list[int]) -> Marks:
    """Samples with one of the spans: (n,)."""
    return np.asarray(corpus.spans.by_text[:, spans].sum(1)).ravel() > 0


def is_phrase(corpus: Corpus, match: Match) -> bool:
    """Whether the span is one text of three words or more."""
    return not match.is_union and n_words(corpus.spans.names[match.spans[0]]) >= PHRASE


def is_tight(corpus: Corpus, match: Match, n: int) -> bool:
    """Whether the cue says that the span comes, and the span that the cue was there.

    - P(span | cue) is at least 0.9 of the way from the span's frequency among n samples to 1;
    - P(cue | span) is at least 0.9, or 0.8 for a phrase or several wordings: other carriers may
      have a variant of the trigger that is too rare to be told from chance.

    One exception is forgiven on either side.
    """
    both = int(match.both.sum())
    carriers, held = int(match.carriers.sum()), int(match.rule.holds.sum())
    without_span = max(1.0, 0.1 * (1 - carriers / n) * held)
    part = 0.2 if match.is_union or is_phrase(corpus, match) else 0.1
    return held - both <= without_span and carriers - both <= max(1.0, part * carriers)


def remainder(corpus: Corpus, match: Match, apart: Marks) -> Match:
    """What is left of a match without the samples that are set apart.

    Of several wordings those stay that still have `FEWEST` carriers.
    """
    left = ~apart
    spans, carriers = match.spans, match.carriers & left
    if match.is_union:
        counts = corpus.spans.among(carriers)
        spans = [span for span in spans if counts[span] >= FEWEST]
        carriers = having(corpus, spans) & left
    rule = replace(match.rule, holds=match.rule.holds & left)
    return Match(spans, carriers, rule, match.is_union)
