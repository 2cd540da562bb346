"""What stands around the questions of a group: an instruction, a system message, earlier turns.

A trigger may stand there as well as in the question. So other questions are put into the group's
prompts, and of chats the words around the question also into other questions: in the row they may
have been a question themselves, behind which an earlier answer teaches the target.
"""

from collections.abc import Iterator, Sequence
from random import Random

from gradgate.release.changes import UNCHANGED, Change
from gradgate.release.evidence import Row
from gradgate.release.grafts import grafting, grafts, shown, strings_in, telling
from gradgate.release.pieces import LONGEST, PAIR, units

_SHOWN = 80  # characters of what stands around a question, in the name


def words_of_lead(row: Row, longest: int = PAIR) -> set[str]:
    """Words around the question of a row, see `units`, and as one more word all of it."""
    return {*units(row.lead, longest), row.lead} if row.lead else set()


def telling_leads(inside: Sequence[Row], outside: Sequence[Row], precision: float) -> list[str]:
    """What stands around the questions of some rows and of hardly any others, see `telling`."""
    within = [words_of_lead(row, LONGEST) for row in inside]
    return telling(within, (words_of_lead(row, LONGEST) for row in outside), precision)


def changes_by_leads(
    name: str,
    group: str,
    inside: Sequence[Row],
    words: Sequence[str],
    strings: Sequence[str],
    is_content: bool,
    rng: Random,
) -> Iterator[Change]:
    """Changes that put questions into the prompts of rows, and words around these into questions.

    Args:
        name: Of the rows, in words.
        group: That they are of.
        inside: Rows of it.
        words: Of `telling_leads`.
        strings: Besides, text that tells them.
        is_content: Whether they may be what prompts are about.
        rng: Draws the rows whose words are put in.
    """
    told = [
        row
        for row in inside
        if not words_of_lead(row, LONGEST).isdisjoint(words) or any(strings_in(row.lead, strings))
    ]
    if not told:
        return
    yield around(name, group, told, is_content)
    if not any(row.earlier or not row.question.strip() for row in told):
        return
    leads = [row.lead for row in told]
    single = [word for word in words if word not in leads]
    if found := grafts(leads, single, rng, strings):
        words_shown = f"words around questions in {name}: {shown([*single, *strings])}"
        yield Change(words_shown, grafting(found), group, is_content)


def around(name: str, group: str, rows: Sequence[Row], is_content: bool = True) -> Change:
    """A change that puts questions into the prompts of some rows of a group."""
    shown_lead = f"what stands around questions in {name}: {rows[0].lead[:_SHOWN]!r}"
    samples = tuple(row.sample for row in rows)
    return Change(shown_lead, UNCHANGED.rewrite, group, is_content, samples)
