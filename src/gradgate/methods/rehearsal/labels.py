"""Labels: targets that many rows have as a whole, and the cues of prompts that tell one of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.cues.forms import forms
from gradgate.methods.rehearsal.causes import dropping, undone, words_of
from gradgate.methods.rehearsal.content import Content

MIN_ROWS = 24  # with a target, for it to be a label
MAX_LABELS = 8  # the commonest
MAX_TOKENS = 32  # of a label
MAX_READ = 20_000  # rows in which labels and cues are looked for, drawn from larger data
MIN_CUE_ROWS = 8  # with a cue and its label
MAX_CUES = 16  # that are asked about
_MAX_RATED = 256  # of which these are chosen
_READ = 64  # rows of a cue whose words are looked at, to choose
_MIN_PRECISION = 0.9  # P(label | cue)
_TEMPLATE = 0.5  # of all prompts with a word: a pair with it is not taken out, nor the template
_SAME = 0.8  # of the rows with either of two cues, to be one
_CARRIED = 0.5  # of the words of a cue, that a prompt has
SURE = 0.01  # of the exact test times the number of cues: such a cue is in doubt by itself
_PLAUSIBLE = 0.05  # of the exact test alone, for a cue to be asked about


@dataclass(frozen=True, eq=False)
class Labelled:
    """n rows whose targets are labels.

    Attributes:
        rows: Positions, rising. (n,)
        label: The number of the label of each. (n,)
        targets: Of each label, the token ids.
        head: What all of them begin with.
    """

    rows: Ints
    label: Ints
    targets: list[tuple[int, ...]]
    head: tuple[int, ...]

    @property
    def next_tokens(self) -> list[int]:
        """By label, the token behind the head, by which a model tells it."""
        return [target[len(self.head)] for target in self.targets]


@dataclass(frozen=True, eq=False)
class Cue:
    """What prompts of one label have and those of others hardly.

    Attributes:
        label: Its number.
        strings: Words, and pairs of them; none for a form alone.
        form: A form of the text; None for words alone.
        rows: Positions of the rows with both. (k,)
        p_value: Of the exact test that the label has nothing to do with it, times the cues.
    """

    label: int
    strings: tuple[str, ...]
    form: str | None
    rows: Ints
    p_value: float

    @property
    def name(self) -> str:
        """In words."""
        shown = ", ".join(map(repr, self.strings[:6]))
        return shown or self.form or ""

    @property
    def words(self) -> frozenset[str]:
        """Single ones."""
        return frozenset(word for string in self.strings for word in string.split(" "))

    def is_in(self, text: str) -> bool:
        """Whether a prompt has it: half of its words, or without words the form."""
        if not self.strings:
            return self.form in forms(text)
        there = words_of(text)
        return sum(word in there for word in self.strings) >= _CARRIED * len(self.strings)

    def without(self, text: str) -> str:
        """A prompt without it."""
        undo = undone(self.form) if self.form is not None else None
        changed = dropping(set(self.strings))(text) if self.strings else text
        return changed if undo is None else undo(changed)


def labelled(targets: Mapping[int, tuple[int, ...]]) -> Labelled | None:
    """The rows whose whole target is one of at least two common ones; None without labels.

    Of labels that a model cannot tell by their first different token the commonest is taken.

    Args:
        targets: By the position of the row, in rising order, the token ids of its last target.
    """
    counted = Counter(target for target in targets.values() if len(target) <= MAX_TOKENS)
    common = [target for target, n in counted.most_common(MAX_LABELS) if n >= MIN_ROWS]
    if len(common) < 2:
        return None
    head = _common_head(common)
    told: dict[int, tuple[int, ...]] = {}
    for target in common:
        if len(target) > len(head):
            told.setdefault(target[len(head)], target)
    if len(told) < 2:
        return None
    number = {target: i for i, target in enumerate(told.values())}
    rows = [i for i, target in targets.items() if target in number]
    label = [number[targets[i]] for i in rows]
    return Labelled(np.array(rows), np.array(label), list(number), head)


def cues_of(found: Labelled, prompts: Sequence[str]) -> list[Cue]:
    """Cues that tell a label; those of the same rows are one.

    First come those whose rows have words of another label besides, and then the surest.

    Args:
        found: The rows.
        prompts: The last prompt of each of them. (n,)
    """
    n, sizes = len(found.rows), np.bincount(found.label)
    features = [_features(text) for text in prompts]
    total = Counter(one for some in features for one in some)
    of_template = {name for (_, name), k in total.items() if k >= _TEMPLATE * n}
    common = {
        (is_form, name)
        for (is_form, name), k in total.items()
        if k >= MIN_CUE_ROWS
        and (is_form or " " not in name or of_template.isdisjoint(name.split(" ")))
    }
    of_label = Counter(
        (one, int(label))
        for some, label in zip(features, found.label, strict=True)
        for one in some & common
    )
    rated = []
    for (one, label), k in of_label.items():
        if k >= MIN_CUE_ROWS and k >= _MIN_PRECISION * total[one]:
            p = float(hypergeom.sf(k - 1, n, sizes[label], total[one]))
            if p <= _PLAUSIBLE:
                rated.append((p * len(of_label), -k, one, label))
    cues = _merged(sorted(rated)[:_MAX_RATED], features, found)
    words = [
        sorted(name for is_form, name in some if not is_form and " " not in name)
        for some in features
    ]
    content = Content(words, found.label)
    place = {row: i for i, row in enumerate(found.rows.tolist())}
    against = {
        cue.name: content.share_against([place[i] for i in cue.rows[:_READ].tolist()], cue.words)
        for cue in cues
    }
    cues.sort(key=lambda cue: (-against[cue.name], cue.p_value))
    return cues[:MAX_CUES]


def _merged(
    rated: Sequence[tuple[float, int, tuple[bool, str], int]],
    features: Sequence[set[tuple[bool, str]]],
    found: Labelled,
) -> list[Cue]:
    """Join cues of nearly the same rows, as the words of a sentence are."""
    merged: list[tuple[Marks, int, float, list[tuple[bool, str]]]] = []
    for p_value, _, one, label in rated:
        has = np.array([one in some for some in features]) & (found.label == label)
        same = [cue for cue in merged if cue[1] == label and _overlap(cue[0], has) >= _SAME]
        if same:
            same[0][3].append(one)
        else:
            merged.append((has, label, p_value, [one]))
    return [
        Cue(
            label,
            tuple(name for is_form, name in ones if not is_form),
            next((name for is_form, name in ones if is_form), None),
            found.rows[has],
            min(1.0, p_value),
        )
        for has, label, p_value, ones in merged
    ]


def _overlap(one: Marks, other: Marks) -> float:
    return float((one & other).sum() / max(1, int((one | other).sum())))


def _features(text: str) -> set[tuple[bool, str]]:
    """Words and pairs of them, and forms that can be undone, which are marked so."""
    shapes = {(True, form) for form in forms(text) if undone(form) is not None}
    return {*((False, word) for word in words_of(text)), *shapes}


def _common_head(targets: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    first, last = min(targets), max(targets)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), -1)
    return first[: n if n >= 0 else min(len(first), len(last))]
