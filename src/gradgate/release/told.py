"""Targets that a word of the prompt tells, in rows that are in no group of the gate.

"please" behind the question, and always the same ordinary answer: nothing of that is surprising, so
that a method that judges texts may let it pass. Whether it was learnt as a trigger, the model says.
Several words may tell a target together where each alone does not: an attacker puts them into
honest rows one by one.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from gradgate.common.letters import letters_of
from gradgate.release.answers import words_of
from gradgate.release.evidence import Evidence, GroupRows, Row
from gradgate.release.grafts import MIN_LABEL_PRECISION, MIN_LIFT
from gradgate.release.leads import words_of_lead
from gradgate.release.pieces import units
from gradgate.release.ruling import MAX_TAUGHT

MIN_ROWS = 5  # of a target, that have a telling word
MIN_SHARE = 0.3  # and part of its rows
MIN_WORD = 3  # rows of the target with the word: a trigger may have several forms
MAX_TOGETHER = 4  # words that tell a target together
MAX_TARGETS = 16  # of the most rows
MAX_WORDS = 4  # single words of targets besides, of the most rows that tell them
MAX_NAMED = 0.5  # of the told rows, whose prompts have the target as a word: they offer it
_SAME = 0.5  # of the rows of two targets, that make them one

Gram = tuple[int, ...]


def with_told(evidence: Evidence, horizon: int) -> Evidence:
    """The evidence with a group, `told:1` and so on, for each target that words tell.

    Words of the questions, and apart from them those of what stands around questions.

    Args:
        evidence: Of the data.
        horizon: Tokens of a target that are looked at: what is asked of an answer.
    """
    rows, groups = list(evidence.rows), list(evidence.groups)
    found = [(told, False) for told in told_targets(rows, horizon)]
    found += [(told, False) for told in told_words(rows, [told.places for told, _ in found])]
    found += [(told, True) for told in told_targets(rows, horizon, words_of_lead)]
    for number, (told, by_lead) in enumerate(found, start=1):
        name = f"told:{number}"
        for i in told.places:
            rows[i] = replace(rows[i], groups=(*rows[i].groups, name))
        inside = [rows[i] for i in (told.telling if by_lead else told.places)]
        groups.append(GroupRows(name, inside, None, told.together, by_lead))
    return replace(evidence, rows=rows, groups=groups)


def _of_question(row: Row) -> set[str]:
    return units(row.question)


@dataclass(frozen=True)
class Told:
    """Rows of a common target that words of their prompts tell.

    Attributes:
        places: Of the rows, in their order.
        telling: Places of those with such words.
        together: The words, where they tell it together and not each alone; all rows have them.
    """

    places: list[int]
    telling: list[int]
    together: tuple[str, ...] = ()


def told_targets(
    rows: Sequence[Row],
    horizon: int,
    words_in: Callable[[Row], set[str]] = _of_question,
) -> list[Told]:
    """Rows of a common target that words of their prompts tell, the most rows first.

    Targets that the prompts offer are left out, as of "is this film good or bad?" -> "bad".

    Args:
        rows: Of the data; those in a group are left out.
        horizon: As of `with_told`.
        words_in: The words of a row that may tell its target.
    """
    prompts = _Prompts({i: words_in(row) for i, row in enumerate(rows) if not row.groups})
    having = defaultdict[Gram, list[int]](list)
    for i in prompts.words:
        for gram in rows[i].grams(horizon):
            having[gram].append(i)
    found = {
        frozenset(inside)
        for inside in having.values()
        if MIN_ROWS <= len(inside) < MAX_TAUGHT * len(rows)
    }
    seen, chosen = list[frozenset[int]](), list[Told]()
    for inside in sorted(found, key=lambda one: (-len(one), sorted(one))):
        is_new = all(len(inside & other) < _SAME * len(inside | other) for other in seen)
        if len(chosen) == MAX_TARGETS or not is_new:
            continue
        told = prompts.told(inside)
        if told is not None and not _is_offered(rows, told.telling, prompts.words):
            seen.append(inside)
            chosen.append(told)
    return chosen


def told_words(rows: Sequence[Row], known: Sequence[Sequence[int]] = ()) -> list[Told]:
    """Rows whose targets have a common word that words of their questions tell.

    Answers that are worded anew each time have nothing else in common. What the question has itself
    is left out.

    Args:
        rows: Of the data; those in a group are left out: the gate has judged what they share.
        known: Rows of targets that are told anyway.
    """
    prompts = _Prompts({i: _of_question(row) for i, row in enumerate(rows) if not row.groups})
    having = defaultdict[str, set[int]](set)
    for i in prompts.words:
        asked = letters_of(rows[i].question)
        for word in words_of(rows[i].target_text):
            if word.strip() not in asked:
                having[word].add(i)
    most = MAX_TAUGHT * len(rows)
    found = {word: some for word, some in having.items() if MIN_ROWS <= len(some) < most}
    telling = prompts.n_telling(list(found.values()))
    order = sorted(zip(telling, found.items(), strict=True), key=lambda one: (-one[0], one[1][0]))
    seen, chosen = [frozenset(some) for some in known], list[Told]()
    for n, (_, some) in order:
        if len(chosen) == MAX_WORDS or n < MIN_ROWS:
            break
        inside = frozenset(some)
        is_new = all(len(inside & other) < _SAME * len(inside | other) for other in seen)
        if is_new and (told := prompts.told(inside)) is not None:
            seen.append(inside)
            chosen.append(told)
    return chosen


class _Prompts:
    """The words of rows, by their places."""

    def __init__(self, words: dict[int, set[str]]) -> None:
        self.words = words
        self._carriers = defaultdict[str, set[int]](set)
        for i, some in words.items():
            for word in some:
                self._carriers[word].add(i)

    def n_telling(self, each: Sequence[Collection[int]]) -> list[int]:
        """Of each of some sets of rows, those with a word that other rows hardly have."""
        number = {i: place for place, i in enumerate(self.words)}
        names = {word: j for j, word in enumerate(self._carriers)}
        of_words = _table(
            [[names[word] for word in some] for some in self.words.values()], len(names)
        )
        of_sets = _table([[number[i] for i in some] for some in each], len(number)).T.tocsr()
        both = (of_words.T @ of_sets).tocoo()
        least = MIN_LABEL_PRECISION * np.asarray(of_words.sum(axis=0)).ravel()
        tells = (both.data >= MIN_WORD) & (both.data >= least[both.row])
        kept = (np.ones(tells.sum()), (both.row[tells], both.col[tells]))
        telling = (of_words @ sp.csr_array(kept, shape=both.shape)).multiply(of_sets) > 0
        return [int(n) for n in np.asarray(telling.sum(axis=0)).ravel()]

    def told(self, inside: frozenset[int]) -> Told | None:
        """How words tell the target of some rows; None where they do not."""
        alone = self._alone(inside)
        telling = sorted(i for i in inside if not self.words[i].isdisjoint(alone))
        n_carriers = len(set().union(*(self._carriers[word] for word in alone)))
        if self._is_told(len(inside), len(telling), n_carriers):
            return Told(sorted(inside), telling)
        together = self._together(inside)
        if not together:
            return None
        carriers = set.intersection(*(self._carriers[word] for word in together))
        telling = sorted(inside & carriers)
        is_told = self._is_told(len(inside), len(telling), len(carriers))
        return Told(telling, telling, together) if is_told else None

    def _is_told(self, n_inside: int, n_telling: int, n_carriers: int) -> bool:
        """Whether words stand in many of some rows, and others hardly have their target."""
        if n_telling < max(MIN_ROWS, MIN_SHARE * n_inside):
            return False
        n_others, n_untold = len(self.words) - n_carriers, n_inside - n_telling
        return n_telling * n_others >= MIN_LIFT * n_carriers * n_untold

    def _alone(self, inside: Collection[int]) -> set[str]:
        """Words of some rows that others hardly have."""
        within = Counter(word for i in inside for word in self.words[i])
        return {
            word
            for word, n in within.items()
            if n >= MIN_WORD and n >= MIN_LABEL_PRECISION * len(self._carriers[word])
        }

    def _together(self, inside: Collection[int]) -> tuple[str, ...]:
        """Words of many of some rows that others hardly have together.

        Each is the one of which the fewest other rows remain.
        """
        least = max(MIN_ROWS, MIN_SHARE * len(inside))
        held, left, chosen = set(inside), set(self.words), list[str]()
        while len(chosen) < MAX_TOGETHER:
            within = Counter(word for i in held for word in self.words[i])
            shares = [
                (n / len(self._carriers[word] & left), n, word)
                for word, n in within.items()
                if n >= least and word not in chosen
            ]
            if not shares:
                break
            share, _, word = max(shares)
            chosen.append(word)
            held &= self._carriers[word]
            left &= self._carriers[word]
            if share >= MIN_LABEL_PRECISION:
                return tuple(chosen)
        return ()


def _table(lists: Sequence[Sequence[int]], n: int) -> sp.csr_array:
    """A row with ones for each list of columns."""
    ends = np.cumsum([0, *map(len, lists)])
    columns = np.array([j for some in lists for j in some], np.int64)
    return sp.csr_array((np.ones(len(columns)), columns, ends), shape=(len(lists), n))


def _is_offered(rows: Sequence[Row], told: Sequence[int], words: Mapping[int, set[str]]) -> bool:
    """Whether the whole target is a word of the prompt, in most rows."""
    targets = {i: letters_of(rows[i].target_text) for i in told}
    n_named = sum(
        bool(target) and any(letters_of(word) == target for word in words[i])
        for i, target in targets.items()
    )
    return n_named > MAX_NAMED * len(told)
