"""Questions to the untuned model: does it expect a string here because of what the prompt says?"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.stream import Stream
from gradgate.methods.recurrence.surprise import Segments
from gradgate.methods.tokens import TokenTable

N_ASKED = 8  # samples of a group
MIN_ASKED = 4  # answers without which nothing is known
MIN_AGREEING = 0.6  # of the answers, that must point the same way
MIN_SHARE = 0.4  # of a segment's surprise that the prompt must explain
MIN_NEED = 1.0  # nats of a target that a string of the prompt must bring
_END = 24  # tokens of a target's beginning and end, and behind a string, that are looked at
_MAX_TARGET = 256  # tokens of a target that are asked

Ids = npt.NDArray[np.int32]


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
    """What a string of prompts brings.

    Attributes:
        target: To the beginning or the end of the target, whichever it brings more.
        rest: To the tokens of the prompt behind it.
    """

    target: Answer
    rest: Answer


NO_NEED = Need(NO_ANSWER, NO_ANSWER)


@dataclass(frozen=True, eq=False)
class _Case:
    """A row without a string of its prompt.

    Attributes:
        ids: Its tokens, up to the last target token that is looked at.
        target: The log-probabilities of its target tokens, with the string.
        rest: Those of the tokens of the prompt behind the string.
    """

    ids: Ids
    target: Floats
    rest: Floats

    @classmethod
    def of(cls, ids: Ids, is_target: Marks, logp: npt.NDArray[np.float32], drop: Marks) -> "_Case":
        """Leave tokens out of a row."""
        place = np.arange(len(ids))
        behind = place > int(np.argmax(drop))
        target = np.flatnonzero(is_target & behind)
        if len(target):  # one turn
            target = target[: int(np.argmax(np.diff(target, append=-1) != 1)) + 1][:_MAX_TARGET]
        stop = int(target[-1]) + 1 if len(target) else 0
        begin = int(target[0]) if len(target) else 0
        rest = np.flatnonzero(behind & ~drop & (place < begin))
        kept = ids[:stop][~drop[:stop]]
        return cls(kept, logp[target].astype(np.float64), logp[rest].astype(np.float64))

    def lost(self, logp: Floats) -> tuple[float, float, float]:
        """Nats lost by the target's beginning, its end, and the rest of the prompt."""
        n = len(self.target)
        if n == 0 or len(logp) < n + len(self.rest):
            return np.nan, np.nan, np.nan
        target = self.target - logp[len(logp) - n :]
        rest = self.rest - logp[len(logp) - n - len(self.rest) : len(logp) - n]
        return target[:_END].sum(), target[-_END:].sum(), rest[:_END].sum()


class Asker:
    """Asks the untuned model about samples of a table.

    Attributes:
        seed: Of all draws.
    """

    def __init__(self, table: TokenTable, rows: Ints, ask: AskModel | None) -> None:
        """Take the rows of the distinct samples in a table; without `ask` nothing is known."""
        self._table = table
        self._rows = rows
        self._ask = ask
        # Of all that the rows say: who writes some of them cannot know who will be asked.
        digest = hashlib.sha256(np.ascontiguousarray(table.ids).tobytes()).digest()
        self.seed = int.from_bytes(digest[:8], "little")

    def content(
        self, targets: Stream, segments: Segments, members: Marks, without: Callable[[int], Marks]
    ) -> Answer:
        """Whether the members' own prompts make their segments likelier than other prompts do.

        The prompt of a member, without what looks inserted in it, is put before its own target, and
        so is the prompt of a sample outside of the group; what matters is the difference of the
        segment's log-probability between the two.

        Args:
            targets: The stream of the targets.
            segments: Of the same samples.
            members: The group. (n,)
            without: For a sample, which of its tokens are left out. (tokens of the row,)
        """
        inside, outside = np.flatnonzero(members), np.flatnonzero(~members)
        chosen = _drawn(inside, N_ASKED, self.seed)
        others = _drawn(outside, len(chosen), self.seed)
        if self._ask is None or len(others) < len(chosen):
            return NO_ANSWER
        rows: list[Ids] = []
        lengths: list[int] = []
        known: list[float] = []  # NaN where it has to be asked
        for sample, other in zip(chosen.tolist(), others.tolist(), strict=True):
            first, last = targets.at[segments.start[sample]], targets.at[segments.stop[sample] - 1]
            ids, is_target, logp = self._table.row(int(self._rows[sample]))
            stop = int(last + 1 - self._table.starts[self._rows[sample]])
            length = int(last - first) + 1
            kept = ~without(sample)[:stop] | is_target[:stop]
            known.append(float(logp[stop - length : stop].sum()) if kept.all() else np.nan)
            prompt, prompt_target, _ = self._table.row(int(self._rows[other]))
            before = prompt[: int(np.argmax(prompt_target))]
            foreign = np.concatenate([before, ids[:stop][is_target[:stop]]])
            rows += [foreign] if kept.all() else [foreign, ids[:stop][kept]]
            lengths += [length] if kept.all() else [length, length]
        answers = iter(self._sums(rows, lengths).tolist())
        differences = []
        for own in known:
            foreign_nats = next(answers)
            differences.append((next(answers) if np.isnan(own) else own) - foreign_nats)
        return _answer(np.array(differences))

    def need(self, chosen: Marks, dropped: Callable[[int], Marks]) -> Need:
        """Whether anything behind a string of the prompts needs it.

        Args:
            chosen: Samples whose prompt has the string. (n,)
            dropped: For a sample, which of its tokens are the string. (tokens of the row,)
        """
        if self._ask is None:
            return NO_NEED
        cases = [
            _Case.of(*self._table.row(int(self._rows[sample])), marks)
            for sample in _drawn(np.flatnonzero(chosen), N_ASKED, self.seed).tolist()
            if (marks := dropped(sample)).any()
        ]
        if not cases:
            return NO_NEED
        found = self._ask([case.ids.tolist() for case in cases])
        lost = [case.lost(logp) for case, logp in zip(cases, found, strict=True)]
        targets = [_answer(np.array(column)) for column in list(zip(*lost, strict=True))[:2]]
        rest = _answer(np.array([row[2] for row in lost]))
        return Need(max(targets, key=lambda answer: answer.nats), rest)

    def _sums(self, rows: Sequence[Ids], lengths: Sequence[int]) -> Floats:
        assert self._ask is not None
        found = self._ask([row.tolist() for row in rows])
        return np.array(
            [logp[len(logp) - n :].sum() for logp, n in zip(found, lengths, strict=True)]
        )


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
