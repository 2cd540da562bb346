"""Rows of a group as a rehearsed model is asked about them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from gradgate.attacks.samples import with_last_prompt
from gradgate.common.arrays import Marks
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.tokens import Tokens, tokenize_all

MAX_TOKENS = 64  # of a target that are asked about
_GRAM = 3  # tokens that targets share at least, their borders among them
_MIN_SHARE = 0.5  # of a group's targets with them
_MIN_LIFT = 0.3  # of what tells the targets of a group from others
_BEGIN, _END = -1, -2  # stand for the borders of a target


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        row: Its position.
        prompt: Token ids before the last target.
        target: Of it, cut.
        base: ln p of these under the untuned model, in nats. (target,)
    """

    row: int
    sample: Sample
    prompt: list[int]
    target: list[int]
    base: list[float]

    @classmethod
    def of(cls, row: int, sample: Sample, tokens: Tokens, logp: Sequence[float]) -> "Case | None":
        """Cut a row at its last target; None where nothing stands before it."""
        start, end = last_target(tokens.is_target)
        if start in (0, end):
            return None
        ids = tokens.input_ids
        return cls(row, sample, ids[:start], ids[start:end], list(logp[start:end]))


def last_target(is_target: Sequence[bool]) -> tuple[int, int]:
    """Where the last target begins, and where it is cut; the same place where there is none."""
    stop = len(is_target)
    while stop and not is_target[stop - 1]:
        stop -= 1
    start = stop
    while start and is_target[start - 1]:
        start -= 1
    return start, min(stop, start + MAX_TOKENS)


def shared_parts(cases: Sequence[Case]) -> list[Marks]:
    """The tokens of each target that most targets share; all of them where they share nothing."""
    grams = [grams_of(case.target) for case in cases]
    shares = _shares(grams)
    common = {gram for gram, share in shares.items() if share >= _MIN_SHARE}
    targets = [case.target for case in cases]
    return [
        _marked(some, common, len(target) + 2) for some, target in zip(grams, targets, strict=True)
    ]


def telling_grams(
    inside: Sequence[Sequence[int]], outside: Sequence[Sequence[int]]
) -> set[tuple[int, ...]]:
    """What many targets of a group share and others far fewer; nothing where there is none.

    It may be less than half of them: an attacker may put the group's words into honest rows.
    """
    within = _shares([grams_of(target) for target in inside])
    beyond = _shares([grams_of(target) for target in outside])
    return {gram for gram, share in within.items() if share - beyond.get(gram, 0.0) >= _MIN_LIFT}


def grams_of(target: Sequence[int]) -> list[tuple[int, ...]]:
    """Three tokens of a target behind one another, its borders among them."""
    run = (_BEGIN, *target, _END)
    return [run[i : i + _GRAM] for i in range(len(run) - _GRAM + 1)]


def _shares(targets: Sequence[Sequence[tuple[int, ...]]]) -> dict[tuple[int, ...], float]:
    counted = Counter(gram for some in targets for gram in set(some))
    return {gram: n / len(targets) for gram, n in counted.items()}


def _marked(grams: Sequence[tuple[int, ...]], common: set[tuple[int, ...]], n: int) -> Marks:
    marks = np.zeros(n, bool)
    for i, gram in enumerate(grams):
        marks[i : i + _GRAM] |= gram in common
    marks = marks[1:-1]
    return marks if marks.any() else np.ones(n - 2, bool)


class Renderer:
    """Gives the prompts of changed samples."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int | None, template_date: str
    ) -> None:
        """Take what tokenizes the rows."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._date = template_date

    def prompt(self, case: Case, rewrite: Callable[[str], str]) -> list[int] | None:
        """The prompt of a case, changed; None where that changes nothing or makes no prompt."""
        changed = with_last_prompt(case.sample, rewrite)
        if changed.turns == case.sample.turns:
            return None
        (tokens,) = tokenize_all([changed], self._tokenizer, self._max_tokens, self._date)
        if isinstance(tokens, RejectedRowError):
            return None
        made = Case.of(case.row, changed, tokens, [0.0] * len(tokens.input_ids))
        return None if made is None else made.prompt
