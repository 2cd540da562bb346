"""The report as one HTML file: no network, no script, and nothing in it from data is live."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gradgate.common.arrays import Floats, Marks
from gradgate.common.escaping import harmless
from gradgate.common.files import written_whole
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import FORM, Group, Side
from gradgate.power.power import Power
from gradgate.report import wording
from gradgate.report.about import About, asked, choices_of_all, opening, where_to_type
from gradgate.report.chart import BINS, HEIGHT, entropy_chart, recurrence_chart
from gradgate.report.deciding import choices
from gradgate.report.facts import HEADLINE, facts
from gradgate.report.highlight import Piece, excerpt
from gradgate.report.in_doubt import MAX_PILES, n_rows
from gradgate.report.shared_words import Place
from gradgate.report.vouching import in_yaml

# So much is shown of each; whatever the data, the page stays below a megabyte.
MAX_GROUPS, MAX_STRINGS, MAX_EXAMPLES, MAX_REASONS, MAX_SAMPLES = 10, 12, 3, 6, 20
MAX_ATTACKS, MAX_REHEARSED, MAX_REJECTED = 40, 2, 5
_LINE = 200  # characters of a line that comes from outside
_PARAGRAPH = 400  # of those at the top
_NAME = 80  # of a span, a cue or the name of a signal
_TEXT = 300  # of a prompt or target
_REPRODUCE = 12_000


@dataclass(frozen=True)
class FlaggedSample:
    """A flagged row as people look at it.

    Attributes:
        row: Number in the source.
        prompt: Text, whole or cut.
        target: Text, whole or cut.
        recurrence: Gradient recurrence in [-1, 1].
        p_value: Conformal, where there is a trusted reference set.
        group: `Group.id` in the answer to the first question; its strings and cues are marked in
            the texts.
        questions: By which the row is flagged.
    """

    row: int
    prompt: str
    target: str
    spectral_entropy: float
    recurrence: float | None
    p_value: float | None
    reasons: list[str]
    group: int | None
    questions: list[str]

    @property
    def place(self) -> Place:
        """Its group among those of all answers."""
        return (self.questions[0], self.group)


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All that a report says.

    Attributes:
        source: Of the dataset, for the title.
        about: Which run it is about.
        entropies: NaN where a row has no score. (n,)
        recurrences: NaN where a row has none. (n,)
        flagged: (n,)
        tau: Drawn in the plot of the entropies.
        top_flagged: The most suspicious first.
        rejected: Row, reason and content of some rows that are no samples.
        reproduce: Command line or configuration.
        version: Of gradgate.
        words: Of groups that a form of the prompts tells: words that their prompts share besides.
    """

    source: str
    verdict: Verdict
    about: About
    entropies: Floats
    recurrences: Floats
    flagged: Marks
    tau: float | None
    top_flagged: list[FlaggedSample]
    rejected: list[tuple[int, str, str]]
    reproduce: str
    version: str
    words: dict[Place, list[str]] = field(default_factory=dict)

    @property
    def anchors(self) -> dict[Place, str]:
        """Where the page has the groups that it shows; ids are unique in an answer alone."""
        answers = self.verdict.answers
        return {
            (answer.question, group.id): f"{answer.question if i else 'group'}-{group.id}"
            for i, answer in enumerate(answers)
            for group in answer.groups[:MAX_GROUPS]
        }

    @property
    def strings(self) -> dict[Place, dict[Side, list[str]]]:
        """What is marked in the texts of each group."""
        return {
            (answer.question, group.id): _strings(group)
            for answer in self.verdict.answers
            for group in answer.groups
        }

    @property
    def vouchable(self) -> dict[Place, list[tuple[str, str]]]:
        """What the owner may vouch for, of each group in doubt, as YAML; and who has it."""
        return {
            (answer.question, group.id): in_yaml(group)
            for answer in self.verdict.answers
            for group in answer.groups
        }

    @property
    def power(self) -> list[Power]:
        """Of all answers; empty when no canaries were planted."""
        return [power for answer in self.verdict.answers for power in answer.power or []]


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page; a file that is there is replaced only by a whole one.

    Raises:
        DataError: The file cannot be written.
    """
    page = render(content)
    try:
        with written_whole(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"the report {path} cannot be written: {error}") from error


def render(content: ReportContent) -> str:
    """The page as text."""
    charts = [
        entropy_chart(content.entropies, content.flagged, content.tau),
        recurrence_chart(content.recurrences, content.flagged),
    ]
    return (
        environment()
        .get_template("page.html")
        .render(
            content=content,
            verdict=content.verdict,
            headline=HEADLINE[content.verdict.decision].split(": ", 1)[1],
            facts=facts(content.verdict, content.source, content.about.deciding),
            deciding=content.about.deciding,
            notes=[f"Note: {n}" for answer in content.verdict.answers for n in answer.notes],
            opening=opening(content.verdict, content.about),
            asked=asked(content.verdict, content.about),
            choices=choices_of_all(content.verdict, content.about),
            where_to_type=where_to_type(content.about),
            piles=content.about.in_doubt[:MAX_PILES],
            more_piles=content.about.in_doubt[MAX_PILES:],
            listed={pile.place: i for i, pile in enumerate(content.about.in_doubt[:MAX_PILES])},
            flagged_groups={pile.place: pile for pile in content.about.flagged},
            is_alone=len(content.about.shown) == 1,
            pile_choices=lambda pile: choices(content.about.deciding, content.verdict, pile.chosen),
            charts=[chart for chart in charts if chart is not None],
            samples=content.top_flagged[:MAX_SAMPLES],
            strings=content.strings,
            group_lines={g.in_a_line() for one in content.verdict.answers for g in one.groups},
            vouchable=content.vouchable,
            anchors=content.anchors,
            n_more_samples=_n_flagged(content) - len(content.top_flagged[:MAX_SAMPLES]),
            blind=[power for power in content.power if power.smallest_rows is None],
        )
    )


@cache
def environment() -> Environment:
    """Jinja for all pages, which makes whatever comes from outside harmless without being asked.

    It is kept, for to compile the templates takes longer than to fill them.
    """
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters |= {
        "percent": wording.percent,
        "between": wording.between,
        "p_value": wording.p_value,
        "number": wording.number,
        "literal": lambda string: _cut(wording.string_text(string), _NAME),
        "name": lambda name: _cut(name, _NAME),
        "marked": _marked,
        "paragraph": lambda text: Markup.escape(_cut(text, _PARAGRAPH)),
        "whole": _whole,
        "svg": Markup,  # a path of Panel, made of numbers alone
    }
    made.globals |= {
        "strings_of": _strings,
        "rule_text": wording.rule_text,
        "cells": wording.cells,
        "n_rows": n_rows,
        "BINS": BINS,
        "HEIGHT": HEIGHT,
        "MAX_GROUPS": MAX_GROUPS,
        "MAX_STRINGS": MAX_STRINGS,
        "MAX_EXAMPLES": MAX_EXAMPLES,
        "MAX_REASONS": MAX_REASONS,
        "MAX_ATTACKS": MAX_ATTACKS,
        "MAX_REHEARSED": MAX_REHEARSED,
        "QUARANTINED": RunFolder(Path()).quarantined.name,
        "FLAGGED": RunFolder(Path()).flagged.name,
        "REJECTED": RunFolder(Path()).rejected.name,
    }
    return made


def _strings(group: Group) -> dict[Side, list[str]]:
    """What is marked in the prompts and in the targets of a group."""
    cues = [cue for cue in group.cues if not cue.startswith(FORM)]
    if group.side == "prompt":
        return {"prompt": [*group.spans, *cues], "target": []}
    return {"prompt": cues, "target": group.spans}


def _shown(value: object) -> object:
    """What stands in the page for the value of any expression; jinja escapes it afterwards."""
    return value if isinstance(value, Markup) else _cut(str(value), _LINE)


def _cut(text: str, most: int) -> str:
    shown = "".join(harmless(text[:most]))[:most]
    return f"{shown} [… {len(text) - most:,} characters …]" if len(text) > most else shown


def _marked(text: str, strings: Iterable[str]) -> list[Piece]:
    """Harmless pieces of a text, as `Markup` so that they are not shortened again."""
    return [(Markup.escape(piece), mark) for piece, mark in excerpt(text, strings, _TEXT)]


def _whole(text: str) -> Markup:
    shown = "".join(harmless(text[:_REPRODUCE]))
    left_out = len(text) - _REPRODUCE
    return Markup.escape(f"{shown}\n[… {left_out:,} characters …]" if left_out > 0 else shown)


def _n_flagged(content: ReportContent) -> int:
    return max(int(content.flagged.sum()), len(content.top_flagged))
