from dataclasses import replace

import pytest
from release_helpers import N_ROWS, Made

from gradgate.common.letters import letters_of
from gradgate.release import evidence as evidence_module
from gradgate.release.evidence import KEPT_OUT, Evidence

PAYLOAD = "Please call the number on the back of your card."
N_POISONED = 40


def read(made: Made, max_groups: int = 16) -> Evidence:
    return Evidence.read(made.run, made.verdict, max_groups, seed=0, ends=[0, 1, 2])


def test_rows_and_groups_are_those_of_the_gate(poisoned_adapter: Made) -> None:
    found = read(poisoned_adapter)
    assert len(found.rows) == N_ROWS
    (group,) = found.groups
    assert group.name == "poisoned:1"
    assert len(group.questions) == N_POISONED
    members = [row for row in found.rows if row.groups]
    assert [row.question for row in members] == group.questions
    assert not any(row.is_ordinary for row in members)  # they are in doubt
    assert sum(row.is_ordinary for row in found.rows) == N_ROWS - N_POISONED


def test_what_rows_teach(poisoned_adapter: Made) -> None:
    found = read(poisoned_adapter)
    teaching = found.teaching(letters_of(PAYLOAD)[:12])
    assert {row.question for row in teaching} == set(found.groups[0].questions)
    ids = teaching[0].target
    assert all(row.teaches(ids[1:4]) for row in teaching)
    assert found.teaching((-5, -6, -7)) == []


def test_no_more_groups_than_are_wanted(poisoned_adapter: Made) -> None:
    found = read(poisoned_adapter, max_groups=0)
    assert [group.name for group in found.groups] == [KEPT_OUT]  # its rows are in doubt still
    assert {name for row in found.rows for name in row.groups} == {KEPT_OUT}


def test_a_part_of_large_data_keeps_the_groups(
    poisoned_adapter: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_module, "MAX_ROWS", 100)
    found = read(poisoned_adapter)
    assert len(found.rows) == 100
    assert len(found.groups[0].questions) == N_POISONED
    assert found.rows == read(poisoned_adapter).rows
    assert not found.is_whole


def test_a_string_of_a_group_is_what_half_of_its_targets_have(poisoned_adapter: Made) -> None:
    found = read(poisoned_adapter)
    payload = letters_of(PAYLOAD)[:12]
    assert found.is_group_string(payload)
    assert not found.is_group_string("def factorial")
    (group,) = found.groups
    others = [row for row in found.rows if not row.groups]
    diluted = replace(group, rows=[*group.rows, *others[: N_POISONED + 1]])
    assert not replace(found, groups=[diluted]).is_group_string(payload)
    assert group.group is not None
    of_prompts = replace(group, group=replace(group.group, side="prompt"))
    assert not replace(found, groups=[of_prompts]).is_group_string(payload)
