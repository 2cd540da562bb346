"""Chat messages: every assistant turn is a target."""

from gradgate.data.formats.fields import Fields, Format, Parts, text_of, wrong_type
from gradgate.data.sample import RejectedRowError, Turn

ROLES = ("system", "developer", "user", "assistant")


def turns_of(fields: Fields, field: str, are_targets: bool) -> tuple[Turn, ...]:
    """The messages of a field; of an answer every assistant turn is a target.

    Raises:
        RejectedRowError: They are no list of messages that can be read.
    """
    value = fields[field]
    if not isinstance(value, list):
        raise wrong_type(field, value)
    return tuple(_turn(message, are_targets) for message in value)


def _turn(message: object, is_target: bool) -> Turn:
    if not isinstance(message, dict):
        raise wrong_type("a message", message)
    if message.get("tool_calls") or message.get("role") == "tool":
        raise RejectedRowError("tool calls unsupported")
    if "role" not in message or "content" not in message:
        raise RejectedRowError("message without role or content")
    role = message["role"]
    if role not in ROLES:
        raise RejectedRowError("unknown role")
    return Turn(role, _content(message["content"]), is_target and role == "assistant")


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    if content is None:
        raise RejectedRowError("tool calls unsupported")
    return text_of({"content": content}, "content")


def _part(part: object) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise RejectedRowError("unsupported content part")
    return text_of({"a content part": part.get("text")}, "a content part")


def _read(fields: Fields, template: str) -> Parts:
    return True, turns_of(fields, "messages", are_targets=True)


MESSAGES = Format("messages", ("messages",), (), _read)
