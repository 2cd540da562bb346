"""Made-up methods, as somebody else would write them, and rows that they have an opinion on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from gradgate.config import Section
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.methods import registry
from gradgate.methods.contract import Detection, Method, Question, Scores, Undecided
from gradgate.methods.evidence import Group
from helpers import diverse_rows

MethodT = TypeVar("MethodT", bound=type[Method[Any]])
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


class WordsConfig(Section):
    """Settings of the method below."""

    flagged: str = "napalm"
    doubted: str = "venom"
    undecided_means: Undecided | None = None


class Words(Method[WordsConfig]):
    """Flags targets with a word, and has those with another one in doubt."""

    name: ClassVar[str] = "words"
    question: ClassVar[Question] = "harmful"
    settings = WordsConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: WordsConfig,
    ) -> Detection:
        assert reference is None  # it takes none
        targets = [prompt_and_target(sample)[1] for sample in samples]
        flagged, doubted = (
            np.array([word in target for target in targets], bool)
            for word in (settings.flagged, settings.doubted)
        )
        if settings.undecided_means is not None:
            return Detection(
                suspicion=np.full(scores.n, np.nan),
                flagged=None,
                in_doubt=doubted,
                group=np.zeros(scores.n, np.int64),
                undecided_because="this model refuses nothing",
                undecided_means=settings.undecided_means,
            )
        group = Group(1, "poison", "target", ["napalm"], 9.0, int(flagged.sum()), 1)
        return Detection(
            suspicion=np.linspace(0.0, 1.0, scores.n),
            flagged=flagged,
            in_doubt=doubted & ~flagged,
            group=flagged.astype(np.int64),
            groups=[group] if flagged.any() else [],
            reasons={int(i): ["says the word"] for i in np.flatnonzero(flagged)},
            signals={"word_length": np.full(scores.n, 6.0)},
        )


@contextmanager
def registered(method: MethodT = Longest) -> Iterator[MethodT]:  # type: ignore[assignment]
    """A made-up method, known by its name as long as the block runs."""
    try:
        yield registry.register_method(method)
    finally:
        registry._registered.clear()


def some_rows() -> list[dict[str, object]]:
    """A hundred rows of which five have a long answer."""
    rows = diverse_rows(100)
    for i in (3, 30, 50, 70, 99):
        rows[i]["answers"] = [f"number {i} " + "and so on " * 20]
    return rows
