"""The last lines of `gradgate detect` of a review: what the owner may vouch for."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_helpers import answer, of_prompts, verdict

from gradgate.cli.summary import Written, say_summary
from gradgate.gate.verdict import Decision, TrustedReference
from gradgate.methods.evidence import Vouchable


def said(
    capsys: pytest.CaptureFixture[str],
    n_groups: int,
    decision: Decision,
    reference: TrustedReference | None = None,
) -> list[str]:
    groups = [of_prompts(i, vouchable=[Vouchable(f"text {i}", 31)]) for i in range(1, n_groups + 1)]
    found = verdict([answer(decision=decision, groups=groups, power=None)])
    found = replace(found, decision=decision, reference=reference)
    say_summary(found, Written(None, None, Path("rows")))
    lines = capsys.readouterr().err.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("yours?")), len(lines))
    return [line[12:] for line in lines[start:] if line.startswith(("yours?", " " * 12))]


def test_a_review_names_the_texts_of_each_group(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, 2, "review")
    assert lines[:2] == ['group 1: "text 1", 31 samples', 'group 2: "text 2", 31 samples']
    assert "policy.expected" in lines[2]
    assert "--reference" in lines[3]


def test_who_has_named_a_reference_is_not_told_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, 2, "review", TrustedReference("trusted.jsonl", "a" * 64, 150))
    assert "--reference" not in "".join(lines)


def test_a_long_list_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, 15, "review")
    assert lines[12] == "and 3 more"


@pytest.mark.parametrize("decision", ["pass", "fail"])
def test_nothing_is_offered_otherwise(
    capsys: pytest.CaptureFixture[str], decision: Decision
) -> None:
    assert said(capsys, 2, decision) == []
