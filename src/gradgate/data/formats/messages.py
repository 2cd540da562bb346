"""Chat messages, in OpenAI's spelling or ShareGPT's: every assistant turn is a target."""

from collections.abc import Mapping

from gradgate.data.formats import exchange
from gradgate.data.formats.content import content_text
from gradgate.data.formats.control import is_learnt
from gradgate.data.formats.fields import (
    WHOLE,
    Fields,
    Format,
    Parts,
    Reading,
    compact_json,
    from_json,
    list_of,
    optional_text,
    shown,
    text_of,
    wrong_type,
)
from gradgate.data.sample import RejectedRowError, Turn

# From the names that data sets have to the role that chat templates know.
ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant")},
    **{role: role for role in ("tool", "function", "ipython")},
    **{"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"},
    **{"bard": "assistant", "observation": "tool"},
    **{"function_call": "assistant"},  # whose text is the call
}
_SPELLINGS = {"role", "content", "from", "value"}  # a message with nothing else is a plain one
_TEXTS = ("reasoning_content", "reasoning", "thinking", "tool_plan", "name", "tool_call_id")
_NO_SPEECH = ("name", "tool_call_id")  # nothing in them is learnt
_CALLS = ("tool_calls", "function_call")
_READ = _SPELLINGS.union(_TEXTS, _CALLS)
_MAY_SAY_NOTHING = ("system", "developer")


def turns_of(value: object, name: str, are_targets: bool, reading: Reading) -> tuple[Turn, ...]:
    """The messages of a field; of an answer every assistant turn is a target, but for masked ones.

    Raises:
        RejectedRowError: They are no list of messages that can be read.
        DataError: A message has a field that changes what is trained and is not understood.
    """
    found = (_turn(message, are_targets, reading) for message in list_of(value, name))
    return tuple(turn for turn in found if turn is not None)


def with_system(fields: Fields, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Put the row's system prompt before its messages.

    Raises:
        RejectedRowError: There are a system prompt and a system message, and they differ; or
            there are earlier rounds as well.
    """
    if fields.get("history"):
        raise RejectedRowError("history beside messages")
    system = optional_text(fields, "system")
    if not system.strip():
        return turns
    first = Turn("system", system, is_target=False)
    if any(turn.role == "system" and turn != first for turn in turns):
        raise RejectedRowError("a system prompt beside a system message")
    return turns if first in turns else (first, *turns)


def says_something(turn: Turn) -> bool:
    """Whether a turn has text, a tool call or reasoning; white space counts as nothing."""
    if turn.text.strip() or not turn.extra:
        return bool(turn.text.strip())
    extra = from_json(turn.extra, "extra")
    return isinstance(extra, dict) and any(extra[name] for name in extra if name not in _NO_SPEECH)


def _turn(message: object, are_targets: bool, reading: Reading) -> Turn | None:
    """One message; None for a system message that is null, as templates have it."""
    if not isinstance(message, dict):
        raise wrong_type("a message", message)
    named, content = _one_of(message, "role", "from"), _one_of(message, "content", "value")
    role = ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise RejectedRowError("unknown role")
    learnt, extra = role == "assistant", ""
    if not message.keys() <= _SPELLINGS:
        learnt = is_learnt(message, learnt, reading)
        extra = _extra(message, reading)
    if named == "function_call":
        call = {"tool_calls": _calls(from_json(text_of({named: content}, named), named))}
        content, extra = None, compact_json(call, named)
    if content is None and role in _MAY_SAY_NOTHING:
        return None
    is_silent = content is None and bool(extra)
    return Turn(role, "" if is_silent else content_text(content), are_targets and learnt, extra)


def _one_of(message: Mapping[str, object], name: str, other: str) -> object:
    """The value of a field that goes by two names."""
    if message.get(name) is not None and message.get(other) is not None:
        raise RejectedRowError(f"a message with {name} and {other}")
    calls = message.get("tool_calls") or message.get("function_call")
    if name not in message and other not in message and not (calls and name == "content"):
        raise RejectedRowError("message without role or content")
    value = message.get(name)
    return message.get(other) if value is None else value


def _extra(message: Mapping[str, object], reading: Reading) -> str:
    """The fields beside role and content that chat templates read, as JSON.

    A field that is not known here is passed on where the template may read it, for it would be
    trained on unjudged otherwise. Where the template writes whole messages, it is refused.
    """
    there = {name: message[name] for name in message if name not in reading.ignored}
    found: dict[str, object] = {
        name: text_of(there, name) for name in _TEXTS if there.get(name) is not None
    }
    unknown = {name for name in there if name not in _READ and there[name] is not None}
    if unknown and WHOLE in reading.template_names:
        raise RejectedRowError(
            f"the chat template writes all fields of a message, and {shown(min(unknown))} is not "
            "known"
        )
    others = reading.template_names.intersection(unknown)
    found |= {name: there[name] for name in there if name in others}
    calls, call = there.get("tool_calls"), there.get("function_call")
    if calls and call:
        raise RejectedRowError("a message with tool_calls and function_call")
    if calls:
        found["tool_calls"] = list_of(calls, "tool_calls")
    elif call:
        found["tool_calls"] = _calls(call)
    return compact_json(found, "a message") if found else ""


def _calls(call: object) -> list[object]:
    """OpenAI's older `function_call`, or ShareGPT's list of them, as tool calls."""
    calls = call if isinstance(call, list) else [call]
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in calls):
        raise RejectedRowError("wrong type: function_call is no object with a name")
    return [{"type": "function", "function": one} for one in calls]


def _read(fields: Fields, reading: Reading) -> Parts:
    turns = turns_of(fields["messages"], "messages", are_targets=True, reading=reading)
    return True, with_system(fields, turns)


MESSAGES = Format(
    "messages",
    ("messages",),
    ("system",),
    _read,
    {**exchange.NAMES, "messages": ("messages", "conversations", "conversation")},
)
