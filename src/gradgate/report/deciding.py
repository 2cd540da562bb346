"""The commands by which a person decides on rows that the gate has kept out."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gradgate.common.run_folder import RunFolder
from gradgate.config import ApprovalsConfig
from gradgate.gate.verdict import Verdict
from gradgate.report.in_doubt import Pile

_LONGEST = 300  # characters of a word, such as a path
_AND_THE_CLEAR = ("--kept-out-for", "verdict")  # rows that are out for the dataset's verdict alone


@dataclass(frozen=True)
class Deciding:
    """How a person decides on rows of a run.

    Attributes:
        by: `approve` where there is a run's folder, by its name; `restore` where there are only the
            rows that were left beside a table.
        target: The name of the run, or the folder with its rows.
        suffix: Ending of the files in that folder, such as `.jsonl`.
        approvals: Of the configuration: whose decisions count.
    """

    by: Literal["approve", "restore"]
    target: str
    suffix: str = ".jsonl"
    approvals: ApprovalsConfig = field(default_factory=ApprovalsConfig)

    @property
    def has_tables(self) -> bool:
        """Whether the run's tables are left, and not its rows alone."""
        return self.by == "approve"

    def file_of(self, table: str) -> str:
        """What has the rows of a table: the table, or the file of the rows of their state."""
        if self.has_tables:
            return table
        state = "rejected" if table == RunFolder(Path()).rejected.name else "quarantine"
        return f"{Path(self.target).name}/{state}{self.suffix}"


@dataclass(frozen=True)
class Choice:
    """What may be said of some rows, and the shell command that says it, in two lines."""

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
    if deciding.by == "approve":
        said = '--by NAME --reason "..."'
        keep, drop = [*chosen, "--keep"], [*chosen, "--drop"]
        labels = ("Keep them, for they belong in the data", "Drop them, for they do not")
    else:
        said = f'--reason "..." --output reviewed{deciding.suffix}'
        keep, drop = [*chosen, *_AND_THE_CLEAR], [*_AND_THE_CLEAR]
        labels = ("Train on them as well, for they belong in the data", "Train without them")
    command = line(["gradgate", deciding.by, deciding.target])
    return [
        Choice(label, f"{command} \\\n    {line(options)} {said}")
        for label, options in zip(labels, (keep, drop), strict=True)
    ]


def line(words: Sequence[str]) -> str:
    """Words for a shell, in one line; one that nobody types in a line is left to the reader."""
    return " ".join(shlex.quote(word) if _can_be_typed(word) else "PATH" for word in words)


def _can_be_typed(word: str) -> bool:
    return word.isprintable() and len(word) <= _LONGEST


def choices_of(deciding: Deciding, verdict: Verdict, piles: Sequence[Pile]) -> list[Choice]:
    """The commands for the rows that a page shows.

    Nobody is offered to keep several groups at once: one that is honest must not vouch for others.

    Args:
        deciding: Of the run.
        verdict: Of the run.
        piles: What is shown of the flagged rows and those in doubt.
    """
    grouped = [pile for pile in piles if pile.group is not None]
    which = grouped or list(piles)
    first = choices(deciding, verdict, which[0].chosen) if which else []
    if len(which) < 2 or not first:
        return first
    every = choices(deciding, verdict, [word for pile in which for word in pile.chosen])
    (keep, _), (_, drop) = first, every
    one = "group" if grouped else "kind"
    return [
        Choice(f"{keep.label} (here the first {one}; the others likewise)", keep.command),
        Choice(f"{drop.label} (here all of them)", drop.command),
    ]
