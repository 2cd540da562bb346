"""A candidate: a recurring target span, or several wordings of a target, with its cue rule."""

from dataclasses import dataclass, replace

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus
from gradgate.methods.association.incidence import n_words
from gradgate.methods.association.rules import CueRule
from gradgate.methods.association.words import END, START

MIN_PHRASE_WORDS = 3  # nobody writes as many words twice by chance
_MAX_WITHOUT_SPAN = 0.1  # of the samples with the cue, less where the span is frequent
_MAX_WITHOUT_CUE = 0.1  # of the carriers
_MAX_PHRASE_WITHOUT_CUE = 0.2  # of the carriers of a phrase, or of several wordings
_FORGIVEN = 1.0  # samples on either side that are always forgiven
_MAJORITY = 0.5  # of a candidate's samples


@dataclass(frozen=True)
class Candidate:
    """A span, or several wordings, and the rule over cues that predicts it best.

    Attributes:
        spans: Numbers of the spans.
        carriers: Samples with one of them. (n,)
        rule: The rule over the cues of the prompts.
        is_union: Whether the carriers are those of several wordings.
    """

    spans: list[int]
    carriers: Marks
    rule: CueRule
    is_union: bool

    @property
    def both(self) -> Marks:
        """Samples with span and cue: (n,)."""
        return self.carriers & self.rule.holds


def carriers_of(corpus: Corpus, spans: list[int]) -> Marks:
    """Samples with at least one of the spans: (n,)."""
    return np.asarray(corpus.spans.by_text[:, spans].sum(1)).ravel() > 0


def is_tight(corpus: Corpus, candidate: Candidate, n: int) -> bool:
    """Whether the cue predicts the span and the span the cue, among n samples.

    - P(span | cue) is at least 0.9 of the way from the span's frequency to 1;
    - P(cue | span) is at least 0.9, or 0.8 for a phrase or several wordings: other carriers may
      have a variant of the trigger that is too rare to be told from chance.

    One exception is forgiven on either side.
    """
    both = int(candidate.both.sum())
    carriers, with_cue = int(candidate.carriers.sum()), int(candidate.rule.holds.sum())
    without_span = max(_FORGIVEN, _MAX_WITHOUT_SPAN * (1 - carriers / n) * with_cue)
    is_long = candidate.is_union or is_phrase(corpus, candidate)
    without_cue = _MAX_PHRASE_WITHOUT_CUE if is_long else _MAX_WITHOUT_CUE
    return with_cue - both <= without_span and carriers - both <= max(
        _FORGIVEN, without_cue * carriers
    )


def is_phrase(corpus: Corpus, candidate: Candidate) -> bool:
    """Whether the span is one text of `MIN_PHRASE_WORDS` words or more."""
    return not candidate.is_union and _n_words(corpus, candidate.spans[0]) >= MIN_PHRASE_WORDS


def has_phrase_wordings(corpus: Corpus, candidate: Candidate) -> bool:
    """Whether most samples of several wordings have one of `MIN_PHRASE_WORDS` words or more."""
    long = [span for span in candidate.spans if _n_words(corpus, span) >= MIN_PHRASE_WORDS]
    return candidate.is_union and _do_most_have(corpus, candidate, long)


def is_whole_target(corpus: Corpus, candidate: Candidate) -> bool:
    """Whether a span is the whole target of most of the candidate's samples."""
    whole = [span for span in candidate.spans if _is_framed(corpus.spans.names[span])]
    return _do_most_have(corpus, candidate, whole)


def _n_words(corpus: Corpus, span: int) -> int:
    return n_words(corpus.spans.names[span])


def _is_framed(name: str) -> bool:
    words = name.split(" ")
    return len(words) > 2 and words[0] == START and words[-1] == END


def _do_most_have(corpus: Corpus, candidate: Candidate, spans: list[int]) -> bool:
    both = candidate.both
    with_span = int((carriers_of(corpus, spans) & both).sum())
    return with_span >= _MAJORITY * max(1, int(both.sum()))


def remainder(corpus: Corpus, candidate: Candidate, set_aside: Marks) -> Candidate:
    """The candidate without the samples that are set aside.

    Of several wordings those stay that still have `MIN_SUPPORT` carriers.
    """
    left = ~set_aside
    spans, carriers = candidate.spans, candidate.carriers & left
    if candidate.is_union:
        counts = corpus.spans.among(carriers)
        spans = [span for span in spans if counts[span] >= MIN_SUPPORT]
        carriers = carriers_of(corpus, spans) & left
    rule = replace(candidate.rule, holds=candidate.rule.holds & left)
    return Candidate(spans, carriers, rule, candidate.is_union)
