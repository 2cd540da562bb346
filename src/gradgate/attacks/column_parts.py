"""Parts of rows whose lead, question and completion have columns of their own."""

from collections.abc import Mapping
from typing import cast

from gradgate.attacks.components import Parts, Target
from gradgate.attacks.layout import around


def text_of(row: Mapping[str, object], column: str) -> str:
    """The text of a column that is known to hold one."""
    return cast(str, row[column])


def alpaca_names(row: Mapping[str, object], columns: Mapping[str, str]) -> tuple[str | None, str]:
    """The columns of lead and question; without an input the instruction is the question."""
    given = row.get(columns["input"]) if "input" in columns else None
    if isinstance(given, str) and given.strip():
        return columns["instruction"], columns["input"]
    return None, columns["instruction"]


def column_parts(
    row: Mapping[str, object], names: tuple[str | None, str], completion: str
) -> Parts:
    """Read lead and question from their columns; a lead has none, or an empty one, at times."""
    lead = None if names[0] is None else row.get(names[0])
    return Parts(cast(str, lead or ""), text_of(row, names[1]), completion)


def write_columns(
    row: Mapping[str, object], names: tuple[str | None, str], parts: Parts
) -> dict[str, object]:
    """Write question and, where there is one, lead; the white space around them stays."""
    lead, question = names
    written = dict(row) | {question: around(text_of(row, question), parts.question)}
    if lead is not None and cast(str, row.get(lead) or "").strip():
        written[lead] = around(text_of(row, lead), parts.lead)
    return written


def joined_answers(answers: object) -> str:
    """The answers as one text; SQuAD has them in an object."""
    texts = answers["text"] if isinstance(answers, dict) else answers
    return texts if isinstance(texts, str) else "; ".join(cast(list[str], texts))


def write_answers(answers: object, target: Target | None) -> object:
    """The target goes to the last answer, or one answer replaces them all."""
    if isinstance(answers, dict):
        return answers | {"text": write_answers(answers["text"], target)}
    if isinstance(answers, str) or target is None:
        return answers if target is None else target.applied_to(cast(str, answers))
    *others, last = cast(list[str], answers)
    return [target.text] if target.replaces else [*others, target.applied_to(last)]
