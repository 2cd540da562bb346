"""How likely the untuned model refuses a prompt, and how likely it says the reply that is there.

The pass that scores the rows says how likely a token that begins a refusal is. Such a token begins
other replies as well ("I"), so that the model is asked about the prompts where it is likely: for
the probability of the first three tokens of each opening of a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.tokens import TokenTable

MIN_FIRST = 0.15  # probability of the first token of a refusal, from which the model is asked
OPENING_TOKENS = 3  # of a refusal and of a reply
_ASKED_TOGETHER = 64  # replies


@dataclass(frozen=True, eq=False)
class Reply:
    """The beginning of a target, of which a conversation has one or more.

    Attributes:
        row: Position in the table.
        number: Of the target in its row, from 0.
        prompt: The tokens before it.
        said: Probability of its first tokens under the model, the geometric mean; in [0, 1].
    """

    row: int
    number: int
    prompt: Ints
    said: float


@dataclass(frozen=True, eq=False)
class Refused:
    """Of each reply; NaN where the model could not be asked.

    Attributes:
        refused: Probability that the model begins a refusal. (replies,)
        complied: The same times the probability that it does not say this reply. (replies,)
    """

    refused: Floats
    complied: Floats


def prefix_free(openings: Sequence[Sequence[int]]) -> list[list[int]]:
    """The first tokens of openings, none beginning another: their probabilities add up."""
    different = {tuple(ids[:OPENING_TOKENS]) for ids in openings}
    return [
        list(ids)
        for ids in sorted(different)
        if not any(ids != other and ids[: len(other)] == other for other in different)
    ]


def replies_of(table: TokenTable, rows: Ints) -> list[Reply]:
    """The beginnings of the targets of some rows."""
    found = []
    for row in rows.tolist():
        ids, is_target, logp = table.row(row)
        for number, start in enumerate(_begins(is_target).tolist()):
            length = int(np.argmin(np.append(is_target[start : start + OPENING_TOKENS], False)))
            said = float(np.exp(logp[start : start + length].astype(np.float64).mean()))
            found.append(Reply(row, number, ids[:start].astype(np.int64), said))
    return found


def _begins(is_target: Marks) -> Ints:
    """Where targets begin, (targets,); the first token of all is predicted by none."""
    return np.flatnonzero(is_target[1:] & ~is_target[:-1]) + 1


def ask_refusals(
    replies: Sequence[Reply], openings: Sequence[Sequence[int]], ask: AskModel
) -> Refused:
    """Ask how likely the model refuses.

    Args:
        replies: Some.
        openings: Tokens with which refusals begin; none begins another.
        ask: The model.
    """
    refused = np.full(len(replies), np.nan)
    for first in range(0, len(replies), _ASKED_TOGETHER):
        some = replies[first : first + _ASKED_TOGETHER]
        asked = [[*reply.prompt.tolist(), *opening] for reply in some for opening in openings]
        answers = ask(asked)
        of_each = [
            float(np.exp(answer[-len(opening) :].sum()))
            for answer, opening in zip(answers, list(openings) * len(some), strict=True)
        ]
        sums = np.array(of_each).reshape(len(some), len(openings)).sum(axis=1)
        refused[first : first + len(some)] = np.minimum(sums, 1.0)
    said = np.array([reply.said for reply in replies])
    return Refused(refused, refused * (1 - said))
