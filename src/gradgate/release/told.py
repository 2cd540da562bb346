"""Targets that a word of the prompt tells, in rows that are in no group of the gate.

"please" behind the question, and always the same ordinary answer: nothing of that is surprising, so
that a method that judges texts may let it pass. Whether it was learnt as a trigger, the model says.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from gradgate.release.answers import bordered, letters_of
from gradgate.release.evidence import Evidence, GroupRows, Row
from gradgate.release.grafts import MIN_LABEL_PRECISION, words_of
from gradgate.release.ruling import MAX_TAUGHT

MIN_ROWS = 5  # of a target, that have a telling word
MIN_SHARE = 0.3  # and part of its rows
MIN_WORD = 3  # rows of the target with the word: a trigger may have several forms
MIN_LIFT = 4.0  # times as often as rows without such a word
MAX_TARGETS = 16  # of the most rows
MAX_NAMED = 0.5  # of the told rows, whose prompts have the target as a word: they offer it
_HORIZON = 24  # tokens of a target that are looked at
_GRAM = 3
_SAME = 0.5  # of the rows of two targets, that make them one

Gram = tuple[int, ...]


def with_told(evidence: Evidence) -> Evidence:
    """The evidence with a group, `told:1` and so on, for each target that a word tells."""
    rows, groups = list(evidence.rows), list(evidence.groups)
    for number, places in enumerate(told_targets(evidence.rows), start=1):
        name = f"told:{number}"
        for i in places:
            rows[i] = replace(rows[i], groups=(*rows[i].groups, name))
        groups.append(GroupRows(name, [rows[i] for i in places], None))
    return replace(evidence, rows=rows, groups=groups)


def told_targets(rows: Sequence[Row]) -> list[list[int]]:
    """Rows of a common target that words of their prompts tell: their places, the most first.

    Targets that the prompts offer are left out, as of "is this film good or bad?" -> "bad".

    Args:
        rows: Of the data; those in a group are left out.
    """
    free = [i for i, row in enumerate(rows) if not row.groups]
    words = {i: words_of(rows[i].question) for i in free}
    n_with = Counter(word for i in free for word in words[i])
    having = defaultdict[Gram, list[int]](list)
    for i in free:
        for gram in _grams(rows[i].target):
            having[gram].append(i)
    found = {
        frozenset(inside)
        for inside in having.values()
        if MIN_ROWS <= len(inside) < MAX_TAUGHT * len(rows)
    }
    chosen = list[frozenset[int]]()
    for inside in sorted(found, key=lambda one: (-len(one), sorted(one))):
        is_new = all(len(inside & other) < _SAME * len(inside | other) for other in chosen)
        if len(chosen) == MAX_TARGETS or not is_new:
            continue
        telling = _telling(inside, words, n_with)
        told = [i for i in inside if not words[i].isdisjoint(telling)]
        if _is_told(inside, told, telling, words) and not _is_offered(rows, told, words):
            chosen.append(inside)
    return [sorted(inside) for inside in chosen]


def _telling(
    inside: Collection[int], words: Mapping[int, set[str]], n_with: Counter[str]
) -> set[str]:
    """Words of some rows that others hardly have."""
    within = Counter(word for i in inside for word in words[i])
    return {
        word
        for word, n in within.items()
        if n >= MIN_WORD and n >= MIN_LABEL_PRECISION * n_with[word]
    }


def _is_told(
    inside: Collection[int],
    told: Collection[int],
    telling: Collection[str],
    words: Mapping[int, set[str]],
) -> bool:
    """Whether telling words stand in many of some rows, and others hardly have their target."""
    if len(told) < max(MIN_ROWS, MIN_SHARE * len(inside)):
        return False
    n_telling = sum(not some.isdisjoint(telling) for some in words.values())
    n_others, n_untold = len(words) - n_telling, len(inside) - len(told)
    return len(told) * n_others >= MIN_LIFT * n_telling * n_untold


def _is_offered(rows: Sequence[Row], told: Sequence[int], words: Mapping[int, set[str]]) -> bool:
    """Whether the whole target is a word of the prompt, in most rows."""
    targets = {i: letters_of(rows[i].target_text) for i in told}
    n_named = sum(
        bool(target) and any(letters_of(word) == target for word in words[i])
        for i, target in targets.items()
    )
    return n_named > MAX_NAMED * len(told)


def _grams(target: Sequence[int]) -> set[Gram]:
    run = bordered(target[:_HORIZON], is_ended=len(target) <= _HORIZON)
    return {run[i : i + _GRAM] for i in range(len(run) - _GRAM + 1)}
