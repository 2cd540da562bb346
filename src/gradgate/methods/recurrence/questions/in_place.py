"""What may stand in a prompt in the place of a string of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.strings.stream import Stream

MIN_FIRST = 8  # places of a string at the beginning of prompts, to say how it goes on
_MAX_BEHIND = 2  # tokens of the template behind a string that go with it

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Version:
    """A row with something else, or nothing, in the place of a string of its prompt.

    Attributes:
        ids: Its tokens.
        at: Where the tokens that stay stand in it, by their place in the row; -1 of the string.
    """

    ids: Ids
    at: Ints


class Substitutes:
    """Draws from prompts what is put in the place of a string."""

    def __init__(self, prompts: Stream, judged: Marks, spelled: Ints) -> None:
        """Take the prompts.

        Args:
            prompts: Their tokens.
            judged: Which are of no template. (N,)
            spelled: What a token is but for blanks and case. (N,)
        """
        self._prompts = prompts
        self._is_common = prompts.is_open & ~judged
        self._words, self._words_at = prompts.ids[judged], prompts.at[judged]
        runs = prompts.run - 1
        first = np.full(int(runs.max(initial=-1)) + 1, prompts.n, np.int64)
        np.minimum.at(first, runs[judged], np.flatnonzero(judged))
        self._first = first[runs]  # token of the same turn that is of no template
        self._is_word, self._spelling = judged, spelled
        self._begins = np.flatnonzero(judged & (self._first == np.arange(prompts.n)))
        self._begun = _commonest(spelled[self._begins], prompts.ids[self._begins])
        ends = np.full(len(first), -1, np.int64)
        own = np.flatnonzero(prompts.is_open)
        np.maximum.at(ends, runs[own], own)
        ends = ends[ends >= 0]
        self._ends = ends[ends >= self._first[ends]]  # of the turns, with their punctuation
        known, first_at = np.unique(prompts.ids, return_index=True)
        self._spelled = dict(zip(known.tolist(), spelled[first_at].tolist(), strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether the prompts are template alone."""
        return not len(self._words)

    def are_words(self, row: int, n: int) -> Marks:
        """Which of the n tokens of a row, that begins there in the table, are of no template."""
        first, last = np.searchsorted(self._words_at, (row, row + n))
        found = np.zeros(n, bool)
        found[self._words_at[first:last] - row] = True
        return found

    def whole(self, row: int, string: Marks) -> Marks:
        """A string with the tokens of the template behind it, as the full stop of a sentence.

        Else what is left where it is cut out would begin with a full stop.

        Args:
            row: Where the row begins in the table.
            string: Which of its tokens are the string. (tokens,)
        """
        found = string.copy()
        for _, stop in _runs(string):
            behind = np.arange(stop, min(stop + _MAX_BEHIND, len(string)))
            at = np.searchsorted(self._prompts.at, row + behind)
            inside = at < self._prompts.n
            at = np.minimum(at, self._prompts.n - 1)
            inside &= (self._prompts.at[at] == row + behind) & self._is_common[at]
            found[behind[np.cumprod(inside).astype(bool)]] = True
        return found

    def without(self, ids: Ids, string: Marks, are_words: Marks, is_first: bool) -> Version:
        """Cut a string out.

        The word that then begins the prompt is spelled as prompts begin: not "and" with a blank
        before it, but "And".

        Args:
            ids: Tokens of a row.
            string: Which are the string. (tokens,)
            are_words: Which are words of its prompt. (tokens,)
            is_first: Whether the string begins the prompt.
        """
        version = _with(ids, string, [np.empty(0, np.int32)] * len(_runs(string)))
        behind = np.flatnonzero(~string & (np.arange(len(ids)) > int(np.argmax(string))))
        if is_first and len(behind) and are_words[behind[0]]:
            at = version.at[behind[0]]
            own = int(version.ids[at])
            version.ids[at] = self._begun.get(self._spelled.get(own, -1), own)
        return version

    def words(self, ids: Ids, string: Marks, rng: np.random.Generator) -> Version:
        """Put tokens there that are drawn one by one."""
        pieces = [rng.choice(self._words, stop - start) for start, stop in _runs(string)]
        return _with(ids, string, pieces)

    def endings(self, ids: Ids, string: Marks, others: Marks, rng: np.random.Generator) -> Version:
        """Put the ends of other prompts there: what follows then begins as a prompt does.

        Args:
            ids: Tokens of a row.
            string: Which are the string. (tokens,)
            others: Samples whose prompts may give them. (n,)
            rng: Draws them.
        """
        usable = self._ends[others[self._prompts.sample[self._ends]]]
        if not len(usable):
            return self.words(ids, string, rng)
        pieces = [
            self._up_to(int(rng.choice(usable)), stop - start) for start, stop in _runs(string)
        ]
        return _with(ids, string, pieces)

    def begins_as_prompts(self, at: Ints, others: Marks) -> float | None:
        """How often what follows a string begins as prompts do, over how often prompts do.

        Whatever the case: by the next word where the string stands first in its turn, and by the
        next two wherever it stands: many a word in the midst begins a prompt as well. The larger
        counts; None where either is known of too few places.

        Args:
            at: Places of the string, from a first token to the one behind the last. (places, 2)
            others: Samples that lack it. (n,)
        """
        begins = self._begins[others[self._prompts.sample[self._begins]]]
        is_first = self._first[at[:, 0]] == at[:, 0]
        behind, first = self._words_behind(at), self._words_behind(at[is_first])
        found = (
            _share(self._spelling[first], self._spelling[begins]),
            _share(self._pairs(behind), self._pairs(begins)),
        )
        return max((share for share in found if share is not None), default=None)

    def _words_behind(self, at: Ints) -> Ints:
        """The next words of the turn, behind the template that goes with a string."""
        last, found = self._prompts.n - 1, at[:, 1]
        for _ in range(_MAX_BEHIND):
            found = found + self._is_common[np.minimum(found, last)]
        runs, found = self._prompts.run[at[found <= last, 0]], found[found <= last]
        return found[(self._prompts.run[found] == runs) & self._is_word[found]]

    def _pairs(self, first: Ints) -> Ints:
        """What words and the next ones of their turn spell, where there is one."""
        words = np.flatnonzero(self._is_word)
        second = np.append(words, 0)[np.searchsorted(words, first, side="right")]
        same = (second > first) & (self._prompts.run[second] == self._prompts.run[first])
        first, second = first[same], second[same]
        return self._spelling[first] * (self._spelling.max(initial=0) + 1) + self._spelling[second]

    def is_first(self, at: int) -> bool:
        """Whether only template stands before a token in its turn; by its place in the table."""
        found = int(np.searchsorted(self._prompts.at, at))
        return bool(self._first[found] >= found)

    def _up_to(self, last: int, n: int) -> Ids:
        """At most n tokens of a prompt up to one of them."""
        first = max(int(self._first[last]), last + 1 - n)
        return self._prompts.ids[first : last + 1].astype(np.int32)


def _runs(string: Marks) -> list[tuple[int, int]]:
    """Where the marked tokens stand together: a first one, and the one behind the last."""
    borders = np.flatnonzero(np.diff(string.astype(np.int8), prepend=0, append=0))
    return list(zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True))


def _with(ids: Ids, string: Marks, pieces: list[Ids]) -> Version:
    parts: list[Ids] = []
    at = np.full(len(ids), -1, np.int64)
    done = n = 0
    for (start, stop), piece in zip(_runs(string), pieces, strict=True):
        at[done:start] = n + np.arange(start - done)
        parts += [ids[done:start], piece]
        n += start - done + len(piece)
        done = stop
    at[done:] = n + np.arange(len(ids) - done)
    return Version(np.concatenate([*parts, ids[done:]]).astype(np.int32), at)


def _share(found: Ints, known: Ints) -> float | None:
    """How many are known, over how many of the known ones are so twice; None of too few."""
    values, counts = np.unique(known, return_counts=True)
    often = float(counts[counts > 1].sum()) / max(1, counts.sum())
    if len(found) < MIN_FIRST or not often:
        return None
    return float(np.isin(found, values).mean()) / often


def _commonest(keys: Ints, values: Ints) -> dict[int, int]:
    """For each key its commonest value."""
    width = int(values.max(initial=0)) + 1
    both, counts = np.unique(keys * width + values, return_counts=True)
    order = np.argsort(counts, kind="stable")
    return {int(both[i] // width): int(both[i] % width) for i in order.tolist()}
