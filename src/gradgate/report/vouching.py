"""What the owner of the data may vouch for, so that a group is not in doubt any more."""

from gradgate.common.escaping import yaml_string
from gradgate.common.patterns import literal
from gradgate.gate.verdict import Answer
from gradgate.methods.evidence import Group


def in_yaml(group: Group) -> list[str]:
    """Each text of a group in doubt as a string of YAML for `policy.expected`."""
    return [yaml_string(literal(text)) for text in group.vouchable]


def in_lines(answer: Answer) -> list[str]:
    """The texts of each group in doubt in a line."""
    return [
        f"group {group.id} of {group.n_rows:,} rows: {', '.join(texts)}"
        for group in answer.groups
        if (texts := in_yaml(group))
    ]
