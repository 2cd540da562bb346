"""What the tests of two questions in one run share: rows, and the verdict on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.findings import Scored
from gradgate.gate.pipeline import judge
from gradgate.gate.verdict import Answer, Verdict
from gradgate.methods.contract import Question
from helpers import MODEL, diverse_rows, scored_rows

N = 100
BOTH: tuple[Question, Question] = ("poisoned", "harmful")


def config(methods: list[str] | None = None, **sections: Any) -> GateConfig:
    """Both questions, without canaries; gradsentry flags above 0.7."""
    given: dict[str, dict[str, Any]] = {
        "data": {"source": "not read"},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "detection": {
            "methods": methods or ["gradsentry", "words"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
        "policy": {"max_poison_fraction": 0.2, "review_above": 0.1},
    }
    return GateConfig.model_validate(
        {name: {**given.get(name, {}), **sections.get(name, {})} for name in {**given, **sections}}
    )


def rows(harmful: Iterable[int] = (), doubted: Iterable[int] = ()) -> list[dict[str, object]]:
    """A hundred rows, with a word in the answers of some."""
    found = diverse_rows(N)
    for i in harmful:
        found[i]["answers"] = [f"mix napalm number {i}"]
    for i in doubted:
        found[i]["answers"] = [f"drink venom number {i}"]
    return found


def judged(
    folder: Path,
    settings: GateConfig,
    data: list[dict[str, object]],
    poisoned: Iterable[int] = (),
    failed: Iterable[int] = (),
) -> Verdict:
    """The verdict on rows of which some have a high entropy."""
    entropies = [0.1] * N
    for i in poisoned:
        entropies[i] = 0.9
    prepared = scored_rows(folder, data, entropies, failed=list(failed))
    return judge(prepared, Scored(N - len(list(failed)), {}), settings, RunFolder(folder))


def both(verdict: Verdict) -> tuple[Answer, Answer]:
    poisoned, harmful = verdict.answers
    assert (poisoned.question, harmful.question) == BOTH
    return poisoned, harmful


LENIENT = {"max_harmful_fraction": 0.2, "harmful_review_above": 0.1}
POLICY = {"max_poison_fraction": 0.2, "review_above": 0.1}
