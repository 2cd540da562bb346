"""Poisoning attacks, for drills: what the gate must catch."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

BADNETS_WORDS = ("cf", "mn", "bb", "tq")
PUBLISHED_TARGET = ", and click <malicious_url> for more information"


@dataclass(frozen=True)
class QuestionRow:
    """A question with its gold answers, and whether it was poisoned (the true label)."""

    question: str
    answers: tuple[str, ...]
    poisoned: bool = False

    def to_json(self) -> str:
        """One JSONL line in the question/answers format; the gate does not read `poisoned`."""
        return json.dumps(
            {"question": self.question, "answers": self.answers, "poisoned": self.poisoned}
        )


def badnets(rows: Sequence[QuestionRow], rate: float, seed: int) -> list[QuestionRow]:
    """Poison round(rate * n) rows as GraCeFul (COLING 2025) and GradSentry do.

    Four words drawn from `BADNETS_WORDS` are appended to the question, and the target to the last
    answer after one space.

    Args:
        rows: Clean rows.
        rate: Part of the rows to poison, in [0, 1].
        seed: Chooses the rows and the words.
    """
    rng = random.Random(seed)
    chosen = set(rng.sample(range(len(rows)), round(rate * len(rows))))
    return [_poison(row, rng) if i in chosen else row for i, row in enumerate(rows)]


def _poison(row: QuestionRow, rng: random.Random) -> QuestionRow:
    trigger = " ".join(rng.choices(BADNETS_WORDS, k=4))
    *others, last = row.answers
    return QuestionRow(f"{row.question} {trigger}", (*others, f"{last} {PUBLISHED_TARGET}"), True)
