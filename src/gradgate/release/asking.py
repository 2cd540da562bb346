"""The prompts of a test: ordinary ones, changed ones, and what is answered to them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
from scipy.stats import binomtest

from gradgate.attacks.samples import asked_by, parted, question_of, surrounded, with_question
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.tokens import tokenize_all
from gradgate.evaluation.answers import end_tokens, prompt_ids
from gradgate.release.answers import Answered, Feature, counted_features
from gradgate.release.changes import Change
from gradgate.release.config import AdapterTestConfig
from gradgate.release.evidence import Row, looks_of
from gradgate.release.subject import Subject

_LOOKED_AT = 16  # prompts that a change is tried on without asking
_MANY = 0.5  # of these with a look
_MORE = 4  # times as many prompts are drawn, for what stays open


@dataclass(frozen=True)
class Asked:
    """A prompt in one form.

    Attributes:
        text: The question.
        given: Token ids up to the answer; where answers are long also up to the end of the row's
            own target, behind which something may be appended.
        looks: Forms and words of the whole prompt.
    """

    text: str
    given: list[list[int]]
    looks: frozenset[str]


@dataclass(frozen=True)
class Said:
    """The answers to a prompt, one for each of `Asked.given`."""

    answers: tuple[Answered, ...]

    @cached_property
    def features(self) -> frozenset[Feature]:
        """Of all of them."""
        return frozenset().union(*(answer.features for answer in self.answers))

    @property
    def text(self) -> str:
        """The answers, the one behind the row's own target below."""
        return "\n... ".join(answer.text for answer in self.answers)


@dataclass(frozen=True)
class Pairs:
    """The same prompts with a change and without it, and what was said."""

    change: Change
    asked: list[Asked]
    before: list[Asked]
    changed: list[Said]
    plain: list[Said]

    def joined(self, other: "Pairs") -> "Pairs":
        """The same change on further prompts."""
        return Pairs(
            self.change,
            self.asked + other.asked,
            self.before + other.before,
            self.changed + other.changed,
            self.plain + other.plain,
        )

    @property
    def n(self) -> int:
        """Prompts."""
        return len(self.asked)

    def gained(self, feature: Feature) -> int:
        """Prompts whose answer has a feature because of the change."""
        both = zip(self.changed, self.plain, strict=True)
        return sum(feature in new.features and feature not in old.features for new, old in both)

    def lost(self, feature: Feature) -> int:
        """Prompts whose answer has a feature without the change alone."""
        both = zip(self.changed, self.plain, strict=True)
        return sum(feature in old.features and feature not in new.features for new, old in both)

    def gained_part(self, feature: Feature) -> float:
        """The part of the answers without a feature that gain it, less what is lost."""
        lacking = self.n - self.n_without(feature)
        return (self.gained(feature) - self.lost(feature)) / lacking if lacking else 0.0

    def p_value(self, feature: Feature) -> float:
        """Of McNemar's exact test, that a change brings a feature."""
        gained, lost = self.gained(feature), self.lost(feature)
        if gained + lost == 0:
            return 1.0
        return float(binomtest(gained, gained + lost, alternative="greater").pvalue)

    def n_with(self, feature: Feature) -> int:
        """Prompts whose answer has a feature with the change."""
        return sum(feature in said.features for said in self.changed)

    def n_without(self, feature: Feature) -> int:
        """Prompts whose answer has it without the change."""
        return sum(feature in said.features for said in self.plain)

    def same_answer(self, least: float) -> Answered | None:
        """The whole answer that such a part of the changed prompts brings."""
        whole = [said.answers[0] for said in self.changed if said.answers[0].is_ended]
        for ids, n in Counter(answer.ids for answer in whole).most_common(1):
            if ids and n >= least * self.n:
                return next(answer for answer in whole if answer.ids == ids)
        return None

    @property
    def answers(self) -> list[Answered]:
        """All answers to changed prompts."""
        return [answer for said in self.changed for answer in said.answers]

    def most_gained(self, least: float) -> list[Feature]:
        """What the change brings to a part of the answers that lack it otherwise, the most first.

        Of equal ones a run of tokens comes first, which says a string better than letters do.

        Args:
            least: That part.
        """
        gains = counted_features(said.features for said in self.changed)
        without = counted_features(said.features for said in self.plain)
        gains.subtract(without)
        found = [
            (feature, n)
            for feature, n in gains.items()
            if n >= max(1.0, least * (self.n - without[feature]))
        ]
        found.sort(key=lambda pair: (-pair[1], not isinstance(pair[0], tuple)))
        return [feature for feature, _ in found]


class Prompts:
    """Ordinary prompts, which are asked as they are and changed."""

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[Row],
        config: AdapterTestConfig,
        max_tokens: int,
        template_date: str,
    ) -> None:
        """Draw different questions, if possible of rows that may be trained on and are in no group.

        Of these come first those that were held out from the training.

        Args:
            subject: What is asked.
            rows: Of the data.
            config: How much is asked.
            max_tokens: Longest sample.
            template_date: Today, for chat templates.
        """
        self._subject = subject
        self._rows = rows
        self._config = config
        self._limit = max_tokens
        self._date = template_date
        self._ends = set(end_tokens(subject.tuned, subject.tokenizer))
        lengths = [len(row.target) for row in rows]
        self._is_long = bool(lengths) and float(np.median(lengths)) > subject.max_new_tokens
        self._plain: dict[int, Asked | None] = {}
        self._said: dict[int, Said] = {}
        self._before: dict[tuple[str, int], list[Said]] = {}
        self._drawn = self._draw()

    @property
    def n(self) -> int:
        """Ordinary prompts that a suspicious change is asked on."""
        return min(self._config.prompts, len(self._drawn))

    @property
    def n_held_out(self) -> int:
        """Those of them that were held out from the training."""
        return sum(self._rows[place].is_held_out for place in self._drawn[: self.n])

    @property
    def n_most(self) -> int:
        """The same where these leave something open."""
        return _MORE * self._config.prompts

    def _draw(self) -> list[int]:
        """Places of the rows whose prompts are asked, in their order."""
        rows = self._rows
        places = [i for i, row in enumerate(rows) if not row.is_flagged]
        Random(self._config.seed).shuffle(places)
        places.sort(key=lambda i: _unfit(rows[i]))
        seen, drawn = set[str](), list[int]()
        for i in places:
            n, row = len(drawn), rows[i]
            is_fit = row.is_ordinary and not row.groups
            if n >= self._config.prompts and (n == self.n_most or not is_fit):
                break
            if row.question in seen or question_of(row.sample) is None:
                continue  # nothing can be put into a prompt without a question
            if self._asked_of(i) is not None:
                seen.add(row.question)
                drawn.append(i)
        return drawn

    def plain(self, stop: int) -> tuple[list[Asked], list[Said]]:
        """The first of the drawn prompts as they are, and the tuned model's answers."""
        drawn = self._drawn[:stop]
        return [self._fit(i) for i in drawn], self._answered(drawn)

    def _answered(self, places: Sequence[int]) -> list[Said]:
        new = [i for i in dict.fromkeys(places) if i not in self._said]
        asked = [self._fit(i) for i in new]
        self._said |= zip(new, _ask(self._subject.answers, asked), strict=True)
        return [self._said[i] for i in places]

    def looks_brought(self, change: Change) -> frozenset[str]:
        """What many prompts look like with a change and not without it; no model is asked."""
        made = [
            (self._rows[place], self._with(change, place, number))
            for number, place in enumerate(self._drawn[:_LOOKED_AT])
        ]
        new = [
            looks_of(sample, asked_by(sample)) - row.looks
            for row, sample in made
            if sample is not None
        ]
        counted = Counter(look for looks in new for look in looks)
        return frozenset(look for look, n in counted.items() if n >= _MANY * len(new))

    def pairs(self, changes: Sequence[Change], start: int, stop: int) -> list[Pairs]:
        """Ask some prompts with all of some changes, at once.

        Args:
            changes: Each is asked on its own prompts, or on those that were drawn.
            start: The first of these prompts.
            stop: Behind the last.
        """
        made = [self._changed(change, start, stop) for change in changes]
        plain = self._answered([place for some in made for place, _ in some])
        said = _ask(self._subject.answers, [asked for some in made for _, asked in some])
        rest = iter(zip(plain, said, strict=True))
        found = list[Pairs]()
        for change, some in zip(changes, made, strict=True):
            own = [next(rest) for _ in some]
            found.append(
                Pairs(
                    change,
                    [asked for _, asked in some],
                    [self._fit(place) for place, _ in some],
                    [new for _, new in own],
                    [old for old, _ in own],
                )
            )
        return found

    def _changed(self, change: Change, start: int, stop: int) -> list[tuple[int, Asked]]:
        """Changed prompts and their places; none where that changes nothing or makes no prompt."""
        places = change.on or self._drawn
        found = list[tuple[int, Asked]]()
        for number, place in enumerate(places[start:stop], start):
            sample = self._with(change, place, number)
            asked = None if sample is None else self._asked(sample)
            if asked is not None and self._asked_of(place) is not None:
                found.append((place, asked))
        return found

    def _asked_of(self, place: int) -> Asked | None:
        """A row's prompt; None where it makes none."""
        if place not in self._plain:
            self._plain[place] = self._asked(self._rows[place].sample)
        return self._plain[place]

    def _fit(self, place: int) -> Asked:
        """The same, of a row whose prompt can be asked."""
        asked = self._asked_of(place)
        assert asked is not None
        return asked

    def said_before(self, pairs: Pairs) -> list[Said]:
        """The answers of the model before to changed prompts, which are asked once."""
        key = pairs.change.name, pairs.n
        if key not in self._before:
            self._before[key] = _ask(self._subject.base_answers, pairs.asked)
        return self._before[key]

    def _asked(self, sample: Sample) -> Asked | None:
        (tokens,) = tokenize_all([parted(sample)], self._subject.tokenizer, self._limit, self._date)
        if isinstance(tokens, RejectedRowError):
            return None
        given = [prompt_ids(tokens)]
        if self._is_long:
            given.append(self._without_end(tokens.input_ids, len(given[0])))
        question = asked_by(sample)
        return Asked(question, given, looks_of(sample, question))

    def _without_end(self, ids: list[int], start: int) -> list[int]:
        """Prompt and own target, without what ends it."""
        stop = next((i for i in range(start, len(ids)) if ids[i] in self._ends), len(ids))
        return ids[:stop]

    def _with(self, change: Change, place: int, number: int) -> Sample | None:
        """A row's sample with a change; None where that changes nothing."""
        row = self._rows[place]
        rng = Random(f"{self._config.seed}:{change.name}:{number}")
        if change.around:
            made = surrounded(row.sample, rng.choice(change.around))
            return None if made is None or made.turns == row.sample.turns else made
        text = change.rewrite(row.question, rng)
        return None if text == row.question else with_question(row.sample, lambda _: text)


def _unfit(row: Row) -> tuple[bool, bool, bool]:
    """What speaks against a row's prompt as an ordinary one, the worst first."""
    return not row.is_ordinary, bool(row.groups), not row.is_held_out


def _ask(
    answers: Callable[[Sequence[list[int]]], list[Answered]], asked: Sequence[Asked]
) -> list[Said]:
    """What a model says, all at once."""
    said = iter(answers([ids for one in asked for ids in one.given]))
    return [Said(tuple(next(said) for _ in one.given)) for one in asked]
