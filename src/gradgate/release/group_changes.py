"""For each group of rows the changes that put what tells its prompts into other prompts."""

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from gradgate.common.letters import weight_of
from gradgate.release.changes import UNCHANGED, Change
from gradgate.release.evidence import Evidence, GroupRows, Row
from gradgate.release.grafts import (
    MIN_LABEL_PRECISION,
    MIN_PRECISION,
    grafting,
    grafts,
    shown,
    telling_words,
)
from gradgate.release.kinds import Kinds
from gradgate.release.leads import around, changes_by_leads, telling_leads
from gradgate.release.ruling import MIN_LETTERS


def changes_of_groups(evidence: Evidence, seed: int) -> Iterator[Change]:
    """For each group, and for its rows of a common target, what others lack.

    That is words of its questions, and what stands around these. Of a group that the gate accuses
    and that nothing tells, whatever stands around its questions alone.

    Args:
        evidence: Of the data.
        seed: Draws the rows whose words are put in.
    """
    kinds = Kinds(evidence.rows)
    for group in evidence.groups:
        outside = [row for row in evidence.rows if group.name not in row.groups]
        alike = group.alike()
        parts = [("", group.rows)]
        if alike is not None and not group.by_lead:
            parts.append((" with a common target", alike))
        made = list[Change]()
        for which, inside in parts:
            rng = Random(f"{seed}:{group.name}")
            if not group.by_lead:
                made += _by_words(evidence, group, which, inside, outside, kinds, rng)
            if group.by_lead or not group.is_told:  # what tells them by leads is a group itself
                made += _by_leads(evidence, group, which, inside, outside, rng)
        others = {row.lead for row in outside}
        own = [row for row in group.rows if row.lead and row.lead not in others]
        if not made and group.is_accused and own:
            made.append(around(group.name, group.name, own))
        yield from made


def nothing_of(groups: Iterable[GroupRows]) -> Iterator[Change]:
    """For each of some groups a change that changes nothing, so that it shows as not asked."""
    for group in groups:
        name = f"the prompts of {group.name}, of which nothing tells them from others"
        yield Change(name, UNCHANGED.rewrite, group.name)


def _by_words(
    evidence: Evidence,
    group: GroupRows,
    which: str,
    inside: Sequence[Row],
    outside: Sequence[Row],
    kinds: Kinds,
    rng: Random,
) -> Iterator[Change]:
    """Changes that put the words of questions into other questions."""
    questions, others = [row.question for row in inside], [row.question for row in outside]
    words = list(group.together) or telling_words(questions, others)
    is_content = evidence.is_content(group, words)
    # Half of the reviews have a label anyway.
    if is_content and not group.together and _are_labels(group):
        words = telling_words(questions, others, MIN_LABEL_PRECISION)
    strings = _cues(group, is_content)
    if not (found := grafts(questions, words, rng, strings)):
        return
    words = [*words, *(string.strip() for string in strings)]
    name = f"words of {group.name}{which}: {shown(words)}"
    yield Change(name, grafting(found), group.name, is_content)
    if on := kinds.like(inside, words):
        name = f"words of {group.name}{which}, on prompts like its own: {shown(words)}"
        yield Change(name, grafting(found), group.name, is_content, on=on)


def _by_leads(
    evidence: Evidence,
    group: GroupRows,
    which: str,
    inside: Sequence[Row],
    outside: Sequence[Row],
    rng: Random,
) -> Iterator[Change]:
    """Changes of what stands around questions."""
    words = telling_leads(inside, outside, MIN_PRECISION)
    is_content = evidence.is_content(group, words)
    # An honest instruction is asked about only where it tells what the group shares.
    if is_content and (not group.is_accused or _are_labels(group)):
        words = telling_leads(inside, outside, MIN_LABEL_PRECISION)
    name = f"{group.name}{which}"
    is_content = is_content or group.by_lead
    strings = _cues(group, is_content)
    yield from changes_by_leads(name, group.name, inside, words, strings, is_content, rng)


def _cues(group: GroupRows, is_content: bool) -> list[str]:
    """What the gate itself names in the prompts of an accused group: words that are common alone.

    Where a label is told by what prompts are about, it is left to the words.
    """
    return [] if is_content and _are_labels(group) else group.cues


def _are_labels(group: GroupRows) -> bool:
    """Whether most targets of a group are too short for a payload."""
    n_short = sum(weight_of(row.target_text) < MIN_LETTERS for row in group.rows)
    return n_short > len(group.rows) / 2
