"""What the tests of comparisons share: labelled rows, and methods that break or look around."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from gradgate.config import Section
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.methods import registry
from gradgate.methods.contract import Detection, Method, Question, Scores
from helpers import diverse_rows, poisoned_rows, write_jsonl


class NoSettings(Section):
    """Nothing can be set."""


class Breaks(Method[NoSettings]):
    """Raises an error with a text that would colour a terminal."""

    name: ClassVar[str] = "breaks"
    question: ClassVar[Question] = "poisoned"
    settings = NoSettings

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: NoSettings,
    ) -> Detection:
        raise RuntimeError("a fault of its own \x1b[31m")


class Abstains(Method[NoSettings]):
    """Cannot decide, and still finds long texts suspicious; keeps what it saw."""

    name: ClassVar[str] = "abstains"
    question: ClassVar[Question] = "harmful"
    settings = NoSettings
    seen: ClassVar[list[str]] = []

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: NoSettings,
    ) -> Detection:
        self.seen[:] = ["\n".join(prompt_and_target(sample)) for sample in samples]
        return Detection(
            suspicion=np.array([float(len(text)) for text in self.seen]),
            flagged=None,
            in_doubt=np.zeros(scores.n, bool),
            group=np.zeros(scores.n, np.int64),
            undecided_because="it never decides",
        )


class ByProbes(Abstains):
    """Cannot decide, and finds suspicious what raises the loss on refusals."""

    name: ClassVar[str] = "by_probes"
    needs: ClassVar[tuple[str, ...]] = ("fihs_all",)
    needs_safety: ClassVar[bool] = True

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: NoSettings,
    ) -> Detection:
        found = super().detect(scores, samples, reference, settings)
        return replace(found, suspicion=scores.signals["fihs_all"])


@contextmanager
def registered() -> Iterator[None]:
    """All of them, known by their names as long as the block runs."""
    try:
        registry.register_method(Breaks)
        registry.register_method(Abstains)
        registry.register_method(ByProbes)
        yield
    finally:
        registry._registered.clear()


def labelled_rows(n: int = 130, column: str | None = "poisoned") -> list[dict[str, object]]:
    """Rows of which an eighth is poisoned; `column` says which, None for no label."""
    rows, poisoned = poisoned_rows(diverse_rows(n), "badnets", 0.12)
    labels = [{} if column is None else {column: i in poisoned} for i in range(len(rows))]
    return [{**row, **label} for row, label in zip(rows, labels, strict=True)]


def labelled_file(path: Path, column: str | None = "poisoned", n: int = 130) -> Path:
    """The same as a JSONL file."""
    return write_jsonl(path, labelled_rows(n, column))
