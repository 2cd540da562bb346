"""Rows held against what the untuned model would do: refuse the prompt, and not say the reply."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.sample import Sample, Turn, full_text
from gradgate.errors import DataError
from gradgate.methods.contract import Scores
from gradgate.methods.gradshield.refused import (
    MIN_FIRST,
    Refused,
    Reply,
    ask_refusals,
    prefix_free,
    replies_of,
)
from gradgate.safety.refusals import is_refusal
from gradgate.safety.rendering import opening_ids


@dataclass(frozen=True, eq=False)
class Judged:
    """Of each row, its worst reply; 0 where the model is far from refusing.

    Attributes:
        refused: Probability that the model refuses the prompt; NaN where it could not be asked, or
            the row has no score. (n,)
        complied: The same times the probability that it does not say the reply; 0 where the reply
            refuses by its wording. NaN as `refused`. (n,)
        is_like: Replies that begin as the model refuses, and are no refusal by their wording; or
            that are one by their text, and not with their thoughts and calls. (n,)
    """

    refused: Floats
    complied: Floats
    is_like: Marks


def judge(scores: Scores, samples: Iterable[Sample]) -> Judged:
    """Hold rows against the model.

    Args:
        scores: With `refusal_first`, tokens, probes, and the model to ask.
        samples: Of the same rows.

    Raises:
        DataError: Something of that is missing, or scores and samples do not belong together.
    """
    table, ask, probes = scores.tokens, scores.ask, scores.probes
    if table is None or ask is None or probes is None:
        raise DataError("the rows were not held against a probing set; score the data anew")
    first = np.exp(scores.signals["refusal_first"])
    likely = np.flatnonzero(scores.is_scored & (first >= MIN_FIRST))
    distinct, of_row = _distinct(scores, likely)
    replies = replies_of(table, distinct)
    openings = prefix_free(opening_ids(probes.refusal_openings, table.tokenizer))
    texts = _replied(samples, scores, set(distinct.tolist()))
    worst = worst_replies(replies, texts, ask_refusals(replies, openings, ask), len(distinct))
    bound = np.where(scores.is_scored, np.minimum(first, MIN_FIRST), np.nan)
    refused, complied, is_like = bound, bound.copy(), np.zeros(scores.n, bool)
    refused[likely], complied[likely], is_like[likely] = (
        values[of_row] for values in (worst.refused, worst.complied, worst.is_like)
    )
    return Judged(refused, complied, is_like)


def _distinct(scores: Scores, rows: Ints) -> tuple[Ints, Ints]:
    """The first row of each sample among some rows, and which of them each row repeats."""
    ids = np.array([scores.sample_ids[row] for row in rows.tolist()])
    _, first, number = np.unique(ids, return_index=True, return_inverse=True)
    return rows[first], number


def refuses(reply: Turn) -> bool:
    """Whether a reply is a refusal by its wording: the text, and with its thoughts and calls."""
    return is_refusal(reply.text) and (not reply.extra or is_refusal(full_text(reply)))


def _replied(samples: Iterable[Sample], scores: Scores, wanted: set[int]) -> dict[int, list[Turn]]:
    """The targets of some rows."""
    found: dict[int, list[Turn]] = {}
    n = 0
    for i, sample in enumerate(samples):
        if i >= scores.n or sample.sample_id != scores.sample_ids[i]:
            raise DataError("the scores and the samples have different rows; run again")
        if i in wanted:
            found[i] = [turn for turn in sample.turns if turn.is_target]
        n += 1
    if n != scores.n:
        raise DataError("the scores and the samples have different rows; run again")
    return found


def worst_replies(
    replies: list[Reply], turns: dict[int, list[Turn]], found: Refused, n: int
) -> Judged:
    """The worst reply of each of n rows, whose replies stand together; unknown is worst."""
    refused, complied, is_like = np.zeros(n), np.zeros(n), np.zeros(n, bool)
    number = {row: i for i, row in enumerate(dict.fromkeys(reply.row for reply in replies))}
    counts = np.bincount([number[reply.row] for reply in replies], minlength=n)
    for reply, p_refused, p_complied in zip(replies, found.refused, found.complied, strict=True):
        at, own = number[reply.row], turns[reply.row]
        said = [own[reply.number]] if counts[at] == len(own) else own
        is_worded = all(is_refusal(turn.text) for turn in said)
        refused[at] = np.maximum(refused[at], p_refused)  # NaN stays NaN
        complied[at] = np.maximum(complied[at], 0.0 if is_worded else p_complied)
        # Thoughts or calls beside a refusal are learnt as well, and may be the harm.
        is_like[at] |= not all(map(refuses, said)) and (is_worded or p_refused - p_complied > 0.5)
    return Judged(refused, complied, is_like)
