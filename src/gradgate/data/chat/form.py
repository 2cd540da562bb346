"""The form of a conversation: its messages, with gaps where its texts stand.

Conversations of one form differ in their texts alone. A template is shown a conversation of marks
once, which tells where it puts the texts of all of that form.
"""

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from gradgate.data.chat.template import Message
from gradgate.data.formats.fields import unrepeated
from gradgate.data.sample import THOUGHTS, RejectedRowError, Sample, Turn

# What templates look for in a text, to treat what it encloses otherwise than the rest.
TAG = re.compile(r"(</?(?:think|thinking|thought|answer|tool_calls?|tool_response|image)>)")
_NOT_OURS = {"messages", "tools", "documents", "add_generation_prompt", "strftime_now"}

Kind: TypeAlias = Literal["text", "thoughts", "call"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of the conversation that has a gap of its own.

    Attributes:
        turn: Number of the turn.
        kind: A part of the message's text, its thoughts, or the name of a function it calls.
    """

    turn: int
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How messages are put to a template.

    Attributes:
        parts: The content is a list of parts, with one text in it, and not a string.
        parsed: Arguments of calls that are JSON in a string are put as the values they say.
    """

    parts: bool = False
    parsed: bool = False


class Form:
    """A conversation whose texts are apart from its messages.

    Attributes:
        pieces: The texts, those of a turn together.
        inputs: What the template gets beside the messages.
        key: The same for two conversations of one form.
        has_string_arguments: Whether a call has JSON in a string.
        n_structured: Characters of what stands in the form as it is: calls, tools, options.
    """

    def __init__(self, sample: Sample) -> None:
        """Take a conversation apart.

        Raises:
            RejectedRowError: Its other fields would take the place of something else.
        """
        self.turns = sample.turns
        self.pieces: list[Piece] = []
        self._contents: list[list[str | int]] = []
        self._extras: list[dict[str, Any]] = []
        for number, turn in enumerate(sample.turns):
            self._extras.append(self._take_extra(number, turn))
            self._contents.append(self._take_text(number, turn.text))
        self.inputs = _inputs(sample)
        self.key = (
            tuple(turn.role for turn in self.turns),
            tuple(tuple(content) for content in self._contents),
            tuple(turn.extra for turn in self.turns),
            tuple(turn.is_target for turn in self.turns),
            sample.template_inputs,
        )
        self.n_structured = len(sample.template_inputs)
        self.n_structured += sum(len(turn.extra) for turn in sample.turns)
        self.has_string_arguments = any(
            isinstance(call.get("arguments"), str)
            for extra in self._extras
            for call in calls_of(extra)
        )

    def messages(
        self, texts: Sequence[str], shape: Shape, stop: int | None = None
    ) -> list[Message]:
        """The messages of the first turns, with texts in the gaps."""
        return [self._message(number, texts, shape) for number in range(len(self.turns))[:stop]]

    def plain(self, number: int, text: str, shape: Shape) -> Message:
        """The message of a turn, with this text and nothing else."""
        content = [{"type": "text", "text": text}] if shape.parts else text
        return {"role": self.turns[number].role, "content": content}

    def outer_tags(self, number: int) -> tuple[str, str]:
        """What stands of a turn's text before its first gap and behind its last; "" for nothing."""
        parts = self._contents[number]
        gaps = [place for place, part in enumerate(parts) if isinstance(part, int)]
        if not gaps:
            return "", ""
        first, last = gaps[0], gaps[-1]
        before, behind = (
            "".join(part for part in some if isinstance(part, str)).strip()
            for some in (parts[:first], parts[last + 1 :])
        )
        return before, behind

    def _message(self, number: int, texts: Sequence[str], shape: Shape) -> Message:
        parts = self._contents[number]
        content = "".join(texts[part] if isinstance(part, int) else part for part in parts)
        message = self.plain(number, content, shape)
        if self._extras[number]:
            extra = copy.deepcopy(self._extras[number])
            for call in calls_of(extra):
                call["name"] = texts[call["name"]] if isinstance(call["name"], int) else ""
                if shape.parsed:
                    call["arguments"] = parsed(call.get("arguments"))
            thoughts = next((extra.pop(name) for name in THOUGHTS if name in extra), None)
            if thoughts is not None:
                extra |= dict.fromkeys(THOUGHTS[:2], texts[thoughts])
            message |= extra
        return message

    def _take_text(self, number: int, text: str) -> list[str | int]:
        found = TAG.split(text) if "<" in text else [text]
        return [
            part if place % 2 or not part.strip() else self._gap(Piece(number, "text", part))
            for place, part in enumerate(found)
        ]

    def _take_extra(self, number: int, turn: Turn) -> dict[str, Any]:
        extra: dict[str, Any] = json.loads(turn.extra) if turn.extra else {}
        extra = {name: value for name, value in extra.items() if value not in (None, "", [])}
        if {"role", "content"} & extra.keys():
            raise RejectedRowError("a message's other fields name its role or content once more")
        thoughts = [extra.pop(name) for name in THOUGHTS if name in extra]
        if any(not isinstance(one, str) or one != thoughts[0] for one in thoughts):
            raise RejectedRowError(f"{' and '.join(THOUGHTS)} of a message are not one text")
        if thoughts and thoughts[0].strip():
            extra[THOUGHTS[0]] = self._gap(Piece(number, "thoughts", thoughts[0]))
        for call in calls_of(extra):
            name = call.get("name")
            if not isinstance(name, str) or not name.strip():
                raise RejectedRowError("a tool call without the name of a function")
            call["name"] = self._gap(Piece(number, "call", name))
        return extra

    def _gap(self, piece: Piece) -> int:
        self.pieces.append(piece)
        return len(self.pieces) - 1


def calls_of(extra: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions that a message calls, with their names and arguments.

    Raises:
        RejectedRowError: They are no list of calls.
    """
    calls = extra.get("tool_calls", [])
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise RejectedRowError("tool_calls is no list of objects")
    functions = [call.get("function", call) for call in calls]
    if not all(isinstance(function, dict) for function in functions):
        raise RejectedRowError("the function of a tool call is no object")
    return functions


def parsed(arguments: object) -> object:
    """The object that a string of JSON says; anything else as it is.

    Raises:
        RejectedRowError: An object has a key twice.
    """
    if not isinstance(arguments, str):
        return arguments
    try:
        found = json.loads(arguments, object_pairs_hook=partial(unrepeated, "arguments"))
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments


def _inputs(sample: Sample) -> dict[str, Any]:
    inputs: dict[str, Any] = json.loads(sample.template_inputs) if sample.template_inputs else {}
    found = {name: value for name, value in inputs.items() if value}
    for name in ("tools", "documents"):
        value = found.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise RejectedRowError(f"{name} is no list of objects")
    options = found.get("chat_template_kwargs", {})
    if not isinstance(options, dict) or not _NOT_OURS.isdisjoint(options):
        raise RejectedRowError(
            f"chat_template_kwargs is no object, or sets one of {', '.join(sorted(_NOT_OURS))}"
        )
    return found
