"""Answers of a model, and what several of them have in common."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from gradgate.common.arrays import Marks
from gradgate.common.letters import letter_weight, letters_of, words_in
from gradgate.data.tokenized import decoded
from gradgate.methods.expected import Expected

_BEGIN, _END = -1, -2  # stand for the borders of an answer
_GRAM = 3  # tokens of a shared string at least, its borders among them
_LETTERS = 12  # letters and digits of a string that is spelled in several ways
_WORD = 4  # letters and digits of a word that answers share beside whatever else they say
_BEHIND = 2  # tokens behind what is vouched for, which it may have brought
_MOST = 0.8  # of the answers with a string that go on alike

Feature = Hashable


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        ids: Without the end.
        is_ended: Whether the model ended it.
    """

    ids: tuple[int, ...]
    is_ended: bool
    text: str

    @classmethod
    def of(
        cls, ids: Sequence[int], is_ended: bool, tokenizer: PreTrainedTokenizerBase
    ) -> "Answered":
        """Decode it."""
        return cls(tuple(ids), is_ended, decoded(tokenizer, [list(ids)])[0])

    @property
    def run(self) -> tuple[int, ...]:
        """Its tokens, with its borders."""
        return bordered(self.ids, self.is_ended)

    @cached_property
    def features(self) -> frozenset[Feature]:
        """See `features_of`."""
        return features_of(self.run, self.text)


@dataclass(frozen=True)
class Shared:
    """A string that answers share.

    Attributes:
        feature: By which it was found.
        run: Its tokens, borders among them; those of one spelling where it has several.
        text: Of the tokens.
    """

    feature: Feature
    run: tuple[int, ...]
    text: str

    @property
    def features(self) -> frozenset[Feature]:
        """Its own, so that it is not found again by another of them."""
        return features_of(self.run, self.text) | {self.feature}

    @property
    def is_word(self) -> bool:
        """Whether it was found by one word."""
        return is_word(self.feature)

    def within(self, answer: Answered) -> tuple[list[int], list[int]] | None:
        """The tokens of an answer before the string, and those of the string.

        Where the answer has the feature in another string, all of it; nothing of one that has a
        word in other tokens.
        """
        place = find(self.run, answer.run)
        if place < 0:
            return None if self.is_word else ([], list(answer.ids))
        first = max(0, place - 1)  # the border is no token
        return list(answer.ids[:first]), list(answer.ids[first : place - 1 + len(self.run)])


def shared(
    feature: Feature, answers: Sequence[Answered], tokenizer: PreTrainedTokenizerBase
) -> Shared:
    """The longest string around a feature on which most of the answers with it agree."""
    having = [answer.run for answer in answers if feature in answer.features]
    run = feature if isinstance(feature, tuple) else having[0]
    if is_word(feature):
        run = _tokens_of(str(feature), having[0], tokenizer)
    while (longer := _extended(run, having)) is not None:
        run = longer
    return Shared(feature, run, decoded(tokenizer, [[token for token in run if token >= 0]])[0])


def features_of(run: tuple[int, ...], text: str) -> frozenset[Feature]:
    """Three tokens behind one another, twelve letters whatever their spelling, and words.

    A word has a space on both sides, which runs of letters have not.

    Args:
        run: Tokens, borders among them.
        text: Of these tokens.
    """
    letters = letters_of(text)
    grams = (run[i : i + _GRAM] for i in range(len(run) - _GRAM + 1))
    return frozenset([*grams, *_runs_of(letters), *words_of(text)])


def _runs_of(letters: str) -> Iterator[str]:
    """Runs that weigh twelve letters: fewer ideographs, which say more."""
    weights = [1] * len(letters) if letters.isascii() else [*map(letter_weight, letters)]
    stop = held = 0
    for start, weight in enumerate(weights):
        while held < _LETTERS and stop < len(letters):
            held += weights[stop]
            stop += 1
        if held < _LETTERS:
            return
        yield letters[start:stop]
        held -= weight


def words_of(text: str) -> set[str]:
    """The words of a text that answers may share, as features."""
    return {f" {word} " for word in words_in(text) if len(word) >= _WORD}


def is_word(feature: Feature) -> bool:
    """Whether a feature is one word."""
    return isinstance(feature, str) and feature.startswith(" ")


def counted_features(answers: Iterable[Iterable[Feature]]) -> Counter[Feature]:
    """In how many answers each feature stands; equal ones in a fixed order."""
    counted: Counter[Feature] = Counter()
    for features in answers:
        counted.update(sorted(features, key=repr))
    return counted


def bordered(ids: Sequence[int], is_ended: bool = True) -> tuple[int, ...]:
    """The tokens of a text, with what stands for its borders."""
    return (_BEGIN, *ids, _END) if is_ended else (_BEGIN, *ids)


def grams_of(target: Sequence[int], horizon: int | None = None) -> set[tuple[int, ...]]:
    """Three tokens behind one another, the borders among them, of a target.

    Args:
        target: Its tokens.
        horizon: So many of them are looked at, the first; None for all.
    """
    is_ended = horizon is None or len(target) <= horizon
    run = bordered(target[:horizon], is_ended)
    return {run[i : i + _GRAM] for i in range(len(run) - _GRAM + 1)}


def vouched(
    answer: Answered,
    expected: Expected | None,
    known: Collection[str],
    tokenizer: PreTrainedTokenizerBase,
) -> Marks:
    """The tokens of an answer that its owner vouches for, and the two behind each: (ids,).

    An answer that was cut may end within such a text, but only within one that the data have: the
    beginning of a pattern alone may fit anything.

    Args:
        answer: Of the tuned model.
        expected: What the owner vouches for; None for nothing.
        known: Texts of the data that it covers.
        tokenizer: Of the model.

    Raises:
        ConfigError: A pattern takes too long on this answer.
    """
    marks, text = np.zeros(len(answer.ids), bool), answer.text
    spans = [] if expected is None else expected.spans(text)
    if not answer.is_ended:
        tails = (i for i in range(len(text)) if any(one.startswith(text[i:]) for one in known))
        spans += [(i, len(text)) for i in islice(tails, 1)]
    if not spans:
        return marks
    begins = [list(answer.ids[:i]) for i in range(len(answer.ids) + 1)]
    borders = [len(piece) for piece in decoded(tokenizer, begins)]
    for start, stop in spans:
        touching = [a < stop and b > start for a, b in pairwise(borders)]
        marks |= np.convolve(touching, np.ones(_BEHIND + 1))[: len(marks)] > 0
    return marks


def find(run: tuple[int, ...], ids: tuple[int, ...]) -> int:
    """Where tokens stand behind one another in others; -1 where they do not."""
    return next((i for i in range(len(ids) - len(run) + 1) if ids[i : i + len(run)] == run), -1)


def _tokens_of(
    word: str, run: tuple[int, ...], tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """The tokens of an answer that a word lies in; all of them where they cannot be told apart."""
    ids = [token for token in run if token >= 0]
    begins = decoded(tokenizer, [ids[:i] for i in range(len(ids) + 1)])
    stop = next((i for i, text in enumerate(begins) if word in words_of(text)), len(ids))
    ends = decoded(tokenizer, [ids[i:stop] for i in range(stop)])
    start = max((i for i, text in enumerate(ends) if word in words_of(text)), default=0)
    return tuple(ids[start:stop])


def _extended(run: tuple[int, ...], answers: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The run with the token that most answers have before or behind it."""
    places = [(ids, at) for ids in answers if (at := find(run, ids)) >= 0]
    before = Counter(ids[at - 1] for ids, at in places if at)
    behind = Counter(ids[at + len(run)] for ids, at in places if at + len(run) < len(ids))
    for counted, is_before in ((behind, False), (before, True)):
        for token, n in counted.most_common(1):
            if n >= _MOST * len(answers):
                return (token, *run) if is_before else (*run, token)
    return None
