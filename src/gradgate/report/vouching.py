"""What the owner of the data may vouch for, so that a group is not in doubt any more."""

from gradgate.common.escaping import yaml_string
from gradgate.common.patterns import literal
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import FORM, Group, Vouchable

_MAX_CUES = 2  # that are named beside a text


def in_yaml(group: Group) -> list[tuple[str, str]]:
    """Each text of a group in doubt as a string for `policy.expected`, and who has it.

    Of a group that is poison since it was rehearsed nothing is offered any more.
    """
    if group.ruling != "review":
        return []
    return [(yaml_string(literal(one.text)), _who(one)) for one in group.vouchable]


def in_lines(verdict: Verdict, most: int) -> list[str]:
    """The texts of the groups in doubt, a line each, where a person has to decide.

    Args:
        verdict: Of the run.
        most: Texts that are named; verdict.json has all of them.
    """
    if verdict.decision != "review":
        return []
    lines = [
        f"group {group.id}: {text}, {who}"
        for answer in verdict.answers
        for group in answer.groups
        for text, who in in_yaml(group)
    ]
    more = [f"and {len(lines) - most:,} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def _who(one: Vouchable) -> str:
    """How many samples have a text, and what tells their prompts; one line without a live link."""
    told = [
        f"the form {yaml_string(cue.removeprefix(FORM))}"
        if cue.startswith(FORM)
        else yaml_string(cue)
        for cue in one.cues[:_MAX_CUES]
    ]
    beside = f" with {' or '.join(told)} in their prompts" if told else ""
    return f"{one.n_samples:,} samples{beside}"
