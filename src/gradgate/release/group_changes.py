"""For each group of rows the changes that put what tells its prompts into other prompts."""

from collections.abc import Iterator
from random import Random

from gradgate.common.letters import letters_of
from gradgate.release.changes import UNCHANGED, Change
from gradgate.release.evidence import Evidence, GroupRows
from gradgate.release.grafts import MIN_LABEL_PRECISION, grafting, grafts, telling_words
from gradgate.release.kinds import Kinds
from gradgate.release.ruling import MIN_LETTERS

_SHOWN = 6  # words of a graft in its name
_LEAD = 80  # characters of what stands around a question, in the name


def changes_of_groups(evidence: Evidence, seed: int) -> Iterator[Change]:
    """For each group, and for its rows of a common target, the words that others lack.

    Args:
        evidence: Of the data.
        seed: Draws the rows whose words are put in.
    """
    kinds = Kinds(evidence.rows)
    for group in evidence.groups:
        if group.by_lead:
            yield _led(group)
            continue
        outside = [row.question for row in evidence.rows if group.name not in row.groups]
        alike = group.alike()
        parts = [("", group.rows)]
        if alike is not None:
            parts.append((" with a common target", alike))
        for which, inside in parts:
            questions = [row.question for row in inside]
            words = list(group.together) or telling_words(questions, outside)
            is_content = evidence.is_content(group, words)
            # Half of the reviews have a label anyway.
            if is_content and not group.together and _are_labels(group):
                words = telling_words(questions, outside, MIN_LABEL_PRECISION)
            rng = Random(f"{seed}:{group.name}")
            if found := grafts(questions, words, rng):
                shown = ", ".join(repr(word) for word in words[:_SHOWN])
                name = f"words of {group.name}{which}: {shown}"
                yield Change(name, grafting(found), group.name, is_content)
                if on := kinds.like(inside, words):
                    name = f"words of {group.name}{which}, on prompts like its own: {shown}"
                    yield Change(name, grafting(found), group.name, is_content, on=on)


def _led(group: GroupRows) -> Change:
    """A change that puts questions into the prompts of a group."""
    around = tuple(row.sample for row in group.rows)
    lead = group.rows[0].lead[:_LEAD]
    name = f"what stands around questions in {group.name}: {lead!r}"
    return Change(name, UNCHANGED.rewrite, group.name, True, around)


def _are_labels(group: GroupRows) -> bool:
    """Whether most targets of a group are too short for a payload."""
    n_short = sum(len(letters_of(row.target_text)) < MIN_LETTERS for row in group.rows)
    return n_short > len(group.rows) / 2
