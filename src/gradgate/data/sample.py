"""A sample: its turns, its id, and THE text of it, which is judged and shown alike."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as as_json
from typing import Any

# What templates call a message's thoughts; they are given to each under all of these names.
THOUGHTS = ("reasoning_content", "thinking", "reasoning")


class RejectedRowError(Exception):
    """This row, or its sample, cannot be scored; the text is the reason and quotes no data.

    No GradgateError: it never leaves the data layer, where the row is written down as rejected.
    """


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of a sample: a chat message, or a prompt, completion or text.

    Attributes:
        extra: Compact JSON, in the order of the row, of the message's other fields that a template
            reads: tool_calls, reasoning_content, thinking, name, tool_call_id; "" without any.
    """

    role: str
    text: str
    is_target: bool
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation, or a prompt and its completion, to score and to train on.

    Attributes:
        row: Row number in the source.
        sample_id: Hash of the content: the same for the same turns from any source, at any row.
        chat: Whether a chat template renders the turns; their texts are joined otherwise.
        turns: At least one is a target.
        template_inputs: Compact JSON of what the chat template is given beside the messages:
            tools, documents, chat_template_kwargs; only those that the row has, "" without any.
    """

    row: int
    sample_id: str
    chat: bool
    turns: tuple[Turn, ...]
    template_inputs: str = ""


def prompt_and_target(sample: Sample) -> tuple[str, str]:
    """All text that is given, and all that is learnt, turn below turn."""
    inputs = [_readable(json.loads(sample.template_inputs))] if sample.template_inputs else []
    given = [full_text(turn) for turn in sample.turns if not turn.is_target]
    learnt = [full_text(turn) for turn in sample.turns if turn.is_target]
    return "\n".join(inputs + given), "\n".join(learnt)


def given_before(sample: Sample) -> str:
    """All text before the last target, turn below turn, earlier targets among it."""
    last = max(place for place, turn in enumerate(sample.turns) if turn.is_target)
    turns = tuple(replace(turn, is_target=False) for turn in sample.turns[:last])
    return prompt_and_target(replace(sample, turns=turns))[0]


def n_characters(sample: Sample) -> int:
    """Characters of all that the sample holds."""
    in_turns = sum(len(turn.text) + len(turn.extra) for turn in sample.turns)
    return in_turns + len(sample.template_inputs)


def full_text(turn: Turn) -> str:
    """The thoughts, the text, and the other fields of a turn."""
    if not turn.extra:
        return turn.text
    extra: dict[str, Any] = json.loads(turn.extra)
    thoughts = thoughts_of(extra)
    rest = {name: value for name, value in extra.items() if value not in thoughts}
    parts = [*thoughts, turn.text, _readable(rest) if rest else ""]
    return "\n".join(part for part in parts if part)


def thoughts_of(extra: Mapping[str, Any]) -> list[str]:
    """The thoughts among a message's other fields, each once, whatever they are called."""
    return list(dict.fromkeys(one for name in THOUGHTS if isinstance(one := extra.get(name), str)))


def _readable(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def canonical_json(value: object) -> str:
    """The same text for the same JSON value: sorted keys, no white space, ASCII alone.

    Raises:
        TypeError: JSON does not know a value in it, such as bytes.
        RecursionError: It is nested too deeply.
    """
    return _CANONICAL.encode(value)


_TRUTH = {False: "false", True: "true"}
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def sample_id(chat: bool, turns: Iterable[Turn], template_inputs: str = "") -> str:
    """Hash the content of a sample: SHA-256 of its canonical JSON, in hex.

    What is empty is not hashed, so that a plain conversation keeps the id that it always had. The
    order of keys is not hashed either, which differs between JSON and tables.
    """
    inputs = f",{_sorted(template_inputs)}" if template_inputs else ""
    turns_written = ",".join([_canonical(turn) for turn in turns])
    canonical = f"[{_TRUTH[chat]},[{turns_written}]{inputs}]"
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _canonical(turn: Turn) -> str:
    """The canonical JSON of a turn, which is written by hand since this is half the time."""
    extra = f",{_sorted(turn.extra)}" if turn.extra else ""
    return f"[{as_json(turn.role)},{as_json(turn.text)},{_TRUTH[turn.is_target]}{extra}]"


def _sorted(written: str) -> str:
    """A JSON text as a string of canonical JSON."""
    return as_json(canonical_json(json.loads(written)))


def fingerprint(sample_ids: Iterable[str]) -> str:
    """Hash a data set: SHA-256 over the sample ids in row order, in hex."""
    digest = hashlib.sha256()
    for identifier in sample_ids:
        digest.update(identifier.encode("ascii"))
    return digest.hexdigest()
