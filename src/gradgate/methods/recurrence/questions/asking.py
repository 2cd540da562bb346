"""Questions to the untuned model: does it expect a string here because of what the prompt says?"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.questions.in_place import Ids, Substitutes, Version
from gradgate.methods.recurrence.questions.spelling import spelled
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import Segments
from gradgate.methods.tokens import TokenTable

MAX_ASKED = 64  # groups of a kind that are asked about: every street of a set of orders is one
N_ASKED = 8  # samples of a group
N_ASKED_AGAIN = 32  # of one whose answers do not decide whether it is needed
MIN_ASKED = 4  # answers without which nothing is known
MIN_AGREEING = 0.6  # of the answers, that must point the same way
MIN_SHARE = 0.4  # of a segment's surprise that the prompt must explain
MIN_NEW_SHARE = 0.1  # the same, by what of the segment is no copy
MIN_TARGET_NEED = 3.0  # nats that a string of the prompt must bring to the target
MIN_REST_NEED = 1.0  # the same to the words that follow it in the prompt
MAX_CLOSE = 6.0  # below it more samples are asked
MIN_COPIED = 0.8  # of a string's tokens that stand again behind it, for these to be its copy
_END = 24  # tokens of a target's beginning and end, and behind a string, that are looked at
_MAX_TARGET = 256  # tokens of a target that are asked

Lost = tuple[float, float, float, float]


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Attributes:
        nats: Median difference of the log-probabilities, which no few rows can move far.
        n_agreeing: Answers above zero.
        n: Answers.
    """

    nats: float
    n_agreeing: int
    n: int

    @property
    def is_sure(self) -> bool:
        """Whether enough answers are above zero."""
        return self.n >= MIN_ASKED and self.n_agreeing >= MIN_AGREEING * self.n


NO_ANSWER = Answer(0.0, 0, 0)


@dataclass(frozen=True)
class Need:
    """What a string of prompts brings, that neither other words in its place nor none bring.

    Attributes:
        target: To the beginning or the end of the target, whichever it brings more.
        rest: To the tokens of the prompt behind it.
        removed: What leaving it out takes from these, whatever other words in its place bring.
    """

    target: Answer
    rest: Answer
    removed: Answer

    @property
    def is_close(self) -> bool:
        """Whether few answers do not decide it."""
        return 0.0 < max(self.target.nats, self.rest.nats) < MAX_CLOSE


NO_NEED = Need(NO_ANSWER, NO_ANSWER, NO_ANSWER)


@dataclass(frozen=True)
class Content:
    """What the content of prompts brings to a string of their targets.

    Attributes:
        whole: To all of it.
        new: To what of it is a surprise: of copied tokens a prompt explains any number.
    """

    whole: Answer
    new: Answer

    def explains(self, nats: float) -> bool:
        """Whether it explains enough of a surprise."""
        return (
            self.whole.is_sure
            and self.whole.nats >= MIN_SHARE * nats
            and self.new.is_sure
            and self.new.nats >= MIN_NEW_SHARE * nats
        )


NO_CONTENT = Content(NO_ANSWER, NO_ANSWER)


@dataclass(frozen=True, eq=False)
class _Case:
    """A row, and the same with nothing or something else in the place of a string of its prompt.

    Attributes:
        others: Its tokens without the string, with other words and with the end of another prompt
            in its place, up to the last target token that is looked at.
        target: The log-probabilities of its target tokens, with the string. (k,)
        is_new: Which of these are no copy of the string. (k,)
        rest: Those of the words of the prompt behind the string; what the template puts there needs
            no string, or a full stop behind a trigger would excuse it.
        rest_at: Where these stand in each of `others`.
        prompts: What stands before the target as it is, and in each of `others`.
    """

    others: list[Ids]
    target: Floats
    is_new: Marks
    rest: Floats
    rest_at: list[Ints]
    prompts: list[Ids]

    @classmethod
    def of(
        cls,
        ids: Ids,
        is_target: Marks,
        logp: npt.NDArray[np.float32],
        string: Marks,
        are_words: Marks,
        versions: Sequence[Version],
        copied: Marks,
    ) -> "_Case":
        """Take a row, which of its tokens are of no template or copied, and its versions.

        The version without the string is the first.
        """
        place = np.arange(len(ids))
        behind = place > int(np.argmax(string))
        target = np.flatnonzero(is_target & behind)
        if len(target):  # one turn
            target = target[: int(np.argmax(np.diff(target, append=-1) != 1)) + 1][:_MAX_TARGET]
        begin = int(target[0]) if len(target) else 0
        rest = np.flatnonzero(behind & ~string & are_words & ~copied & (place < begin))
        stops = [int(version.at[target[-1]]) + 1 if len(target) else 0 for version in versions]
        return cls(
            others=[version.ids[:stop] for version, stop in zip(versions, stops, strict=True)],
            target=logp[target].astype(np.float64),
            is_new=~copied[target],
            rest=logp[rest].astype(np.float64),
            rest_at=[version.at[rest] for version in versions],
            prompts=[
                ids[:begin],
                *(
                    version.ids[: stop - len(target)]
                    for version, stop in zip(versions, stops, strict=True)
                ),
            ],
        )

    def lost(self, found: Sequence[Floats], other: Sequence[float] = (0.0,) * 3) -> Lost:
        """Nats lost by the target's beginning, its end, and the rest of the prompt; and by removal.

        Args:
            found: Log-probabilities of the tokens of each of `others`.
            other: What another target loses in each: what it loses too is not lost.
        """
        n = len(self.target)
        if n == 0:
            return np.nan, np.nan, np.nan, np.nan
        targets = [(self.target - logp[len(logp) - n :]) * self.is_new for logp in found]
        rests = [self.rest - logp[at] for logp, at in zip(found, self.rest_at, strict=True)]
        return (  # NaN where one of them is not known
            float(np.min([a[:_END].sum() - b for a, b in zip(targets, other, strict=True)])),
            float(np.min([a[-_END:].sum() - b for a, b in zip(targets, other, strict=True)])),
            float(np.min([lost[:_END].sum() for lost in rests])),
            float(rests[0][:_END].sum()),
        )


class Asker:
    """Asks the untuned model about samples of a table.

    Attributes:
        seed: Of all draws.
    """

    def __init__(
        self, table: TokenTable, rows: Ints, ask: AskModel | None, substitutes: Substitutes
    ) -> None:
        """Take the rows of the distinct samples in a table; without `ask` nothing is known.

        Args:
            table: The tokens of all rows.
            rows: Of the distinct samples. (n,)
            ask: The untuned model.
            substitutes: Of the strings of their prompts.
        """
        self._table = table
        self._rows = rows
        self._ask = ask
        self._substitutes = substitutes
        # Of all that the rows say: who writes some of them cannot know who will be asked.
        digest = hashlib.sha256(np.ascontiguousarray(table.ids).tobytes()).digest()
        self.seed = int.from_bytes(digest[:8], "little")

    def content(
        self,
        targets: Stream,
        segments: Segments,
        without: Callable[[int], Marks],
        is_known: Marks | None = None,
    ) -> Content:
        """Whether samples' own prompts make their segments likelier than other prompts do.

        The prompt of a member, without what looks inserted in it, is put before its own target, and
        so is the prompt of a sample outside of the group; what matters is the difference of the
        segment's log-probability between the two.

        Args:
            targets: The stream of the targets.
            segments: One of each sample of a group.
            without: For a sample, which of its tokens are left out. (tokens of the row,)
            is_known: Tokens of the targets that are no surprise. (N,)
        """
        outside = np.setdiff1d(np.arange(targets.n_samples), segments.sample)
        chosen = _drawn(segments.sample, N_ASKED, self.seed)
        others = _drawn(outside, len(chosen), self.seed)
        if self._ask is None or len(others) < len(chosen):
            return NO_CONTENT
        rows: list[Ids] = []
        lengths: list[int] = []
        known: list[Floats | None] = []  # None where it has to be asked
        counted: list[Marks] = []
        runs = np.flatnonzero(targets.begins)
        asked = segments.at[np.searchsorted(segments.sample, chosen)].tolist()
        for sample, other, at in zip(chosen.tolist(), others.tolist(), asked, strict=True):
            first, last = targets.at[at[0]], targets.at[at[1] - 1]
            ids, is_target, logp = self._table.row(int(self._rows[sample]))
            stop = int(last + 1 - self._table.starts[self._rows[sample]])
            length = int(last - first) + 1
            kept = ~without(sample)[:stop] | is_target[:stop]
            known.append(logp[stop - length : stop].astype(float) if kept.all() else None)
            prompt, prompt_target, _ = self._table.row(int(self._rows[other]))
            before = prompt[: int(np.argmax(prompt_target))]
            # Of a chat the answer alone: behind its earlier answers any beginning is unlikely.
            run = targets.at[runs[targets.run[at[0]] - 1]] - self._table.starts[self._rows[sample]]
            foreign = np.concatenate([before, ids[int(run) : stop]])
            rows += [foreign] if kept.all() else [foreign, ids[:stop][kept]]
            lengths += [length] if kept.all() else [length, length]
            counted.append(np.ones(length, bool) if is_known is None else ~is_known[slice(*at)])
        answers = iter(self._last(rows, lengths))
        differences, new = [], []
        for own, counts in zip(known, counted, strict=True):
            foreign_logp = next(answers)
            gained = (next(answers) if own is None else own) - foreign_logp
            differences.append(gained.sum())
            new.append(gained[counts].sum())
        return Content(_answer(np.array(differences)), _answer(np.array(new)))

    def need(
        self, chosen: Marks, dropped: Callable[[int], Marks], against: Ids | None = None
    ) -> Need:
        """Whether anything behind a string of the prompts needs it.

        It is cut out, and it is replaced by words and by the end of another prompt: what any in
        its place bring as well needs none of them. So nonsense is not needed by what follows
        nonsense, nor is a sentence by what follows a sentence. A copy of it does not count.

        Args:
            chosen: Samples whose prompt has the string. (n,)
            dropped: For a sample, which of its tokens are the string. (tokens of the row,)
            against: Another target: what the string brings to it, it does not bring to the
                samples' own, as a heading makes any label likelier.
        """
        if self._ask is None or self._substitutes.is_empty:
            return NO_NEED
        samples = _drawn(np.flatnonzero(chosen), N_ASKED_AGAIN, self.seed)
        samples = np.random.default_rng(self.seed).permutation(samples)
        lost = self._lost(samples[:N_ASKED], ~chosen, dropped, against)
        if _need(lost).is_close:
            lost += self._lost(samples[N_ASKED:], ~chosen, dropped, against)
        return _need(lost)

    def _lost(
        self, samples: Ints, others: Marks, dropped: Callable[[int], Marks], against: Ids | None
    ) -> list[Lost]:
        """What some samples lose without the string, see `_Case.lost`."""
        assert self._ask is not None
        rng = np.random.default_rng(self.seed)
        cases = [
            self._case(sample, marks, others, rng)
            for sample in samples.tolist()
            if (marks := dropped(sample)).any()
        ]
        found = iter(self._ask([ids.tolist() for case in cases for ids in case.others]))
        too = [[0.0] * len(case.others) for case in cases]
        if against is not None:
            too = self._too(cases, against)
        return [
            case.lost([next(found) for _ in case.others], other)
            for case, other in zip(cases, too, strict=True)
        ]

    def _case(self, sample: int, string: Marks, others: Marks, rng: np.random.Generator) -> _Case:
        row = int(self._rows[sample])
        begin = int(self._table.starts[row])
        ids, is_target, logp = self._table.row(row)
        copied = self._copied(ids, string)
        string = self._substitutes.whole(begin, string)
        is_first = self._substitutes.is_first(begin + int(np.argmax(string)))
        are_words = self._substitutes.are_words(begin, len(ids))
        versions = [
            self._substitutes.without(ids, string, are_words, is_first),
            self._substitutes.words(ids, string, rng),
            self._substitutes.endings(ids, string, others, rng),
        ]
        return _Case.of(ids, is_target, logp, string, are_words, versions, copied)

    def _copied(self, ids: Ids, string: Marks) -> Marks:
        """Tokens of a row that say a string again behind it, whatever their case: (T,).

        None where it says more than these: an instruction quotes what it asks for.
        """
        spelling = spelled(ids.astype(np.int64), self._table)
        again = np.isin(spelling, spelling[string]) & ~string
        again[: int(np.argmax(string))] = False
        is_whole = np.isin(spelling[string], spelling[again]).mean() >= MIN_COPIED
        return again & is_whole

    def _too(self, cases: Sequence[_Case], against: Ids) -> list[list[float]]:
        """What another target loses in each version of each case.

        What it gains is none: a string that speaks against it need not speak for a sample's own.
        """
        rows = [np.concatenate([prompt, against]) for case in cases for prompt in case.prompts]
        last = self._last(rows, [len(against)] * len(rows))
        sums = np.array([logp.sum() for logp in last]).reshape(len(cases), -1)
        return np.maximum(0.0, sums[:, :1] - sums[:, 1:]).tolist()

    def _last(self, rows: Sequence[Ids], lengths: Sequence[int]) -> list[Floats]:
        assert self._ask is not None
        found = self._ask([row.tolist() for row in rows])
        return [logp[len(logp) - n :] for logp, n in zip(found, lengths, strict=True)]


def _need(lost: Sequence[Lost]) -> Need:
    if not lost:
        return NO_NEED
    begin, end, rest, removed = (_answer(np.array(column)) for column in zip(*lost, strict=True))
    return Need(max(begin, end, key=lambda answer: answer.nats), rest, removed)


def _answer(differences: Floats) -> Answer:
    known = differences[np.isfinite(differences)]
    if not known.size:
        return NO_ANSWER
    return Answer(float(np.median(known)), int((known > 0).sum()), int(known.size))


def _drawn(numbers: Ints, n: int, seed: int) -> Ints:
    """At most n of some numbers, drawn at random."""
    if len(numbers) <= n:
        return numbers
    return np.sort(np.random.default_rng(seed).choice(numbers, n, replace=False))
