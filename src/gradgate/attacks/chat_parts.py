"""Parts of rows of chat messages."""

from collections.abc import Mapping
from typing import Any, cast

from gradgate.attacks.components import Parts, Target, with_target
from gradgate.attacks.layout import around
from gradgate.data.formats.messages import ROLES

Message = dict[str, Any]


def messages_of(row: Mapping[str, object], column: str) -> list[Message]:
    """The messages of a column that is known to hold them."""
    return cast(list[Message], row[column])


def last_message(messages: list[Message], role: str, before: int) -> int:
    """Where the last message of a role is that training does not mask; -1 when there is none."""
    found = (i for i in range(before) if _role(messages[i]) == role)
    return max((i for i in found if messages[i].get("weight") != 0), default=-1)


def _role(message: Message) -> str | None:
    return ROLES.get(message.get("role") or message.get("from", ""))


def _system(messages: list[Message]) -> int:
    """Where the first system message is; -1 when there is none."""
    roles = ("system", "developer")
    return next((i for i, message in enumerate(messages) if _role(message) in roles), -1)


def chat_parts(prompt: list[Message], before: int, completion: list[Message]) -> Parts | None:
    """Read the last question of the first `before` messages; None without question or answer."""
    question, system = last_message(prompt, "user", before), _system(prompt[:before])
    answer = last_message(completion, "assistant", len(completion))
    if question < 0 or answer < 0:
        return None
    lead = "" if system < 0 else _content(prompt[system])
    return Parts(lead, _content(prompt[question]), _content(completion[answer]))


def _content(message: Message) -> str:
    content = message.get(_content_name(message))
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _content_name(message: Message) -> str:
    return "value" if message.get("value") is not None else "content"


def _with_content(message: Message, text: str) -> Message:
    """Write a text; content of several parts becomes one part."""
    name = _content_name(message)
    content = message.get(name)
    parts = [{**content[0], "text": text}] if isinstance(content, list) else text
    return message | {name: parts}


def write_chat_prompt(messages: list[Message], before: int, parts: Parts) -> list[Message]:
    """Write question and, where there is one, system message among the first `before` messages."""
    written = list(messages)
    question, system = last_message(messages, "user", before), _system(messages[:before])
    for place, text in ((question, parts.question), (system, parts.lead)):
        if place >= 0 and _content(messages[place]).strip():
            new = around(_content(messages[place]), text)
            written[place] = _with_content(messages[place], new)
    return written


def write_chat_completion(messages: list[Message], target: Target | None) -> list[Message]:
    """Write the last assistant turn."""
    place = last_message(messages, "assistant", len(messages))
    text = with_target(_content(messages[place]), target)
    return [*messages[:place], _with_content(messages[place], text), *messages[place + 1 :]]
