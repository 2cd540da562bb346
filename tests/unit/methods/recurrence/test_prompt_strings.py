"""Strings of prompts: of many streets, products or names every one is asked about."""

from typing import Any

import pytest
from evidence_helpers import Pair, detected, questions

from gradgate.methods.recurrence import prompt_strings
from gradgate.methods.recurrence.questions.asking import Asker

NAMES = [f" Z{a}q{b} Lane" for a in "abcde" for b in "vwxy"]
EACH = 10


def rows() -> list[Pair]:
    """Every name in ten prompts, and every other prompt without one."""
    made = questions(2 * len(NAMES) * EACH, seed=23)
    for i in range(len(NAMES) * EACH):
        prompt, target = made[2 * i]
        made[2 * i] = (prompt + NAMES[i // EACH], target)
    return made


def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many strings of prompts are groups, and about how many the model is asked."""
    calls, need = list[object](), Asker.need

    def counted(self: Asker, *args: Any) -> Any:
        calls.append(args)
        return need(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Asker, "need", counted)
        found = detected(rows(), NAMES)
    return sum(group.side == "prompt" for group in found.groups), len(calls)


def test_so_many_strings_are_asked_about_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_groups, n_asked = asked(monkeypatch)
    assert n_asked == n_groups >= 8
    monkeypatch.setattr(prompt_strings, "MAX_ASKED", 5)
    assert asked(monkeypatch) == (n_groups, 5)
