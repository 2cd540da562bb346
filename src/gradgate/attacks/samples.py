"""Samples as rows, so that what changes rows can change a sample."""

import json
from collections.abc import Callable
from dataclasses import replace

from gradgate.attacks.layout import cut
from gradgate.attacks.parts import read_parts, write_parts
from gradgate.config import DEFAULT_TEMPLATE
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.data.sample import RejectedRowError, Sample, Turn

Row = dict[str, object]


def question_of(sample: Sample) -> str | None:
    """The question of a sample, see `parts.read_parts`; None where it has none."""
    row = as_row(sample)
    parts = read_parts(row, detect_format(row))
    return None if parts is None else parts.question


def with_question(sample: Sample, rewrite: Callable[[str], str]) -> Sample | None:
    """A sample with another question; None where it has none, or the new one makes no sample."""
    row = as_row(sample)
    mapping = detect_format(row)
    parts = read_parts(row, mapping)
    if parts is None:
        return None
    written = write_parts(row, mapping, replace(parts, question=rewrite(parts.question)), None)
    try:
        return to_sample(written, sample.row, mapping, DEFAULT_TEMPLATE)
    except RejectedRowError:
        return None


def surrounded(sample: Sample, other: Sample) -> Sample | None:
    """A sample whose question stands in the prompt of another; None where that cannot be.

    Where the other's last prompt is empty the question stands there.
    """
    question = question_of(sample)
    if question is None or sample.chat != other.chat:
        return None
    is_empty = _last_prompt(other) >= 0 and not last_prompt(other).strip()
    rewrite = with_last_prompt if is_empty else with_question
    made = rewrite(other, lambda _: question)
    if made is None or len(made.turns) == 1:
        return None
    turns = list(made.turns)
    turns[_last_prompt(made) + 1] = sample.turns[_last_prompt(sample) + 1]
    return replace(made, turns=tuple(turns))


def parted(sample: Sample) -> Sample:
    """A text that is learnt from its first word on, as prompt and completion; others as they are.

    It is cut where `parts.read_parts` cuts it, and has the same tokens.
    """
    halves = cut(sample.turns[0].text) if len(sample.turns) == 1 and not sample.chat else None
    if halves is None:
        return sample
    turns = (Turn("prompt", halves[0], False), Turn("completion", halves[1], True))
    return replace(sample, turns=turns)


def last_prompt(sample: Sample) -> str:
    """The text of the last turn before the last target; empty where there is none."""
    place = _last_prompt(sample)
    return "" if place < 0 else sample.turns[place].text


def asked_by(sample: Sample) -> str:
    """The question of a sample, or all of its last prompt; empty where it has neither."""
    return question_of(sample) or last_prompt(sample)


def with_last_prompt(sample: Sample, rewrite: Callable[[str], str]) -> Sample:
    """A sample with another text in that turn."""
    place = _last_prompt(sample)
    turns = list(sample.turns)
    if place >= 0:
        turns[place] = replace(turns[place], text=rewrite(turns[place].text))
    return replace(sample, turns=tuple(turns))


def _last_prompt(sample: Sample) -> int:
    last = max(place for place, turn in enumerate(sample.turns) if turn.is_target)
    return last - 1


def as_row(sample: Sample) -> Row:
    """A row of messages, prompt and completion, or text, of which the sample could be made."""
    if sample.chat:
        inputs = json.loads(sample.template_inputs or "{}")
        return {"messages": [_message(turn) for turn in sample.turns], **inputs}
    last = max(i for i, turn in enumerate(sample.turns) if turn.is_target)
    before = "".join(turn.text for turn in sample.turns[:last])
    target = sample.turns[last].text
    return {"prompt": before, "completion": target} if before else {"text": target}


def _message(turn: Turn) -> dict[str, object]:
    masked = {"weight": 0} if turn.role == "assistant" and not turn.is_target else {}
    return {"role": turn.role, "content": turn.text, **json.loads(turn.extra or "{}"), **masked}
