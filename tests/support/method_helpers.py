"""A made-up method, as somebody else would write one, and rows that it has an opinion on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from pydantic import Field

from gradgate.config import Section
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.methods import registry
from gradgate.methods.contract import Detection, Method, Question, Scores
from helpers import diverse_rows

LONG = [3, 30, 50, 70, 99]


class LongestConfig(Section):
    """Settings of the made-up method."""

    max_characters: int = Field(40, ge=1, description="Longer targets are flagged.")


class Longest(Method[LongestConfig]):
    """Flags the longest targets, and reads no score."""

    name: ClassVar[str] = "longest"
    question: ClassVar[Question] = "harmful"
    settings = LongestConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: LongestConfig,
    ) -> Detection:
        lengths = np.array([len(prompt_and_target(sample)[1]) for sample in samples])
        flagged = lengths > settings.max_characters
        return Detection(
            suspicion=lengths.astype(np.float64),
            flagged=flagged,
            in_doubt=np.zeros(scores.n, bool),
            group=np.zeros(scores.n, np.int64),
            reasons={int(i): [f"{lengths[i]} characters"] for i in np.flatnonzero(flagged)},
            signals={"target_characters": lengths.astype(np.float64)},
            summary={"longest": int(lengths.max())},
        )


@contextmanager
def registered() -> Iterator[type[Longest]]:
    """The made-up method, known by its name as long as the block runs."""
    try:
        yield registry.register_method(Longest)
    finally:
        registry._registered.clear()


def some_rows() -> list[dict[str, object]]:
    """A hundred rows of which five have a long answer."""
    rows = diverse_rows(100)
    for i in (3, 30, 50, 70, 99):
        rows[i]["answers"] = [f"number {i} " + "and so on " * 20]
    return rows
