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
        stop = len(tokens.input_ids)
        while stop and not tokens.is_target[stop - 1]:
            stop -= 1
        start = stop
        while start and tokens.is_target[start - 1]:
            start -= 1
        if start == 0 or start == stop:
            return None
        end = min(stop, start + MAX_TOKENS)
        ids = tokens.input_ids
        return cls(row, sample, ids[:start], ids[start:end], list(logp[start:end]))


def shared_parts(cases: Sequence[Case]) -> list[Marks]:
    """The tokens of each target that most targets share; all of them where they share nothing."""
    runs = [(_BEGIN, *case.target, _END) for case in cases]
    grams = [[run[i : i + _GRAM] for i in range(len(run) - _GRAM + 1)] for run in runs]
    counted = Counter(gram for some in grams for gram in set(some))
    common = {gram for gram, n in counted.items() if n >= _MIN_SHARE * len(cases)}
    return [_marked(some, common, len(run)) for some, run in zip(grams, runs, strict=True)]


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
