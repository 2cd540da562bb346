"""The commands by which a person decides on rows that the gate has kept out."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import Group
from gradgate.report.in_doubt import Pile

MAX_GROUPS = 10  # of an answer that a page shows: nobody decides on what was not shown
_TO_DECIDE = ("poison", "review")
_AND_THE_CLEAR = ("--reason", "verdict")  # rows that are out for the dataset's verdict alone


@dataclass(frozen=True)
class Deciding:
    """How a person decides on rows of a run.

    Attributes:
        by: `approve` where there is a run's folder, by its name; `restore` where there are only the
            rows that were left beside a table.
        target: The name of the run, or the folder with its rows.
        suffix: Ending of the files in that folder, such as `.jsonl`.
    """

    by: Literal["approve", "restore"]
    target: str
    suffix: str = ".jsonl"


@dataclass(frozen=True)
class Choice:
    """What may be said of some rows, and the shell command that says it."""

    label: str
    command: str


def choices(deciding: Deciding, verdict: Verdict, chosen: Sequence[str]) -> list[Choice]:
    """To keep the chosen rows or to drop them; nothing where there is nothing to be decided.

    Args:
        deciding: Of the run.
        verdict: Of the run; a pass needs nobody, and behind an error nothing is known.
        chosen: Options that choose rows, such as `--group poisoned:1`.
    """
    if verdict.decision not in ("review", "fail") or not chosen:
        return []
    command = ["gradgate", deciding.by, deciding.target]
    if deciding.by == "approve":
        said = '--by NAME --reason "..."'
        keep, drop = ([*command, *chosen, "--keep"], [*command, *chosen, "--drop"])
        labels = ("Keep them, for they belong in the data", "Drop them, for they do not")
    else:
        said = f'--because "..." --output train{deciding.suffix}'
        keep, drop = ([*command, *chosen, *_AND_THE_CLEAR], [*command, *_AND_THE_CLEAR])
        labels = ("Train on them as well, for they belong in the data", "Train without them")
    return [
        Choice(label, f"{line(words)} {said}")
        for label, words in zip(labels, (keep, drop), strict=True)
    ]


def line(words: Sequence[str]) -> str:
    """A shell command in one line; a word that cannot be typed in one is left to the reader."""
    return " ".join(shlex.quote(word) if word.isprintable() else "PATH" for word in words)


def to_decide(groups: Sequence[Group]) -> list[Group]:
    """The groups that a person may decide on, of those that a page shows."""
    return [group for group in groups[:MAX_GROUPS] if group.ruling in _TO_DECIDE]


def all_chosen(verdict: Verdict, piles: Sequence[Pile]) -> list[str]:
    """The options that choose every group that a page shows, or the rows where there is no group.

    Args:
        verdict: With the groups.
        piles: Of the flagged rows and those in doubt.
    """
    groups = [
        option
        for answer in verdict.answers
        for group in to_decide(answer.groups)
        for option in ("--group", f"{answer.question}:{group.id}")
    ]
    without = [pile.chosen for pile in piles if pile.group is None]
    return groups or [option for chosen in without for option in chosen]
