"""Preference pairs: the chosen answer is the target, or the rejected one where it is asked for."""

from gradgate.data.formats import exchange
from gradgate.data.formats.fields import (
    Fields,
    Format,
    Parts,
    Reading,
    optional_text,
    text_of,
    wrong_type,
)
from gradgate.data.formats.messages import turns_of, with_system
from gradgate.data.sample import RejectedRowError, Turn


def _read(fields: Fields, reading: Reading) -> Parts:
    side = "rejected" if reading.preference == "rejected" else "chosen"
    prompt, answer = fields.get("prompt"), fields[side]
    if isinstance(answer, list | dict):
        said = answer if isinstance(answer, list) else [answer]
        turns = turns_of(said, side, are_targets=True, reading=reading)
        return True, with_system(fields, _joined(_given(prompt, fields, reading), turns, side))
    text = text_of(fields, side)
    if prompt is None:
        return False, (Turn("text", text, is_target=True),)
    if not isinstance(prompt, str):
        raise wrong_type(side, text)
    asked = _asked(prompt, fields)
    return exchange.exchange(fields, asked, asked, text)


def _given(prompt: object, fields: Fields, reading: Reading) -> tuple[Turn, ...]:
    """The prompt as turns, of which none is a target."""
    if prompt is None:
        return ()
    if isinstance(prompt, str):
        return (Turn("user", _asked(prompt, fields), is_target=False),)
    return turns_of(prompt, "prompt", are_targets=False, reading=reading)


def _asked(prompt: str, fields: Fields) -> str:
    more = optional_text(fields, "input")
    return f"{prompt}\n{more}" if more.strip() else prompt


def _joined(given: tuple[Turn, ...], turns: tuple[Turn, ...], side: str) -> tuple[Turn, ...]:
    """Prompt and answer; an answer that is the whole conversation must hold the prompt's turns.

    Every assistant turn of it is a target, as those of messages are: whoever fine-tunes on the
    chosen conversation learns them all.
    """
    if not given or not any(turn.role == "user" for turn in turns):
        return given + turns
    said = [(turn.role, turn.text) for turn in turns]
    if any((turn.role, turn.text) not in said for turn in given):
        raise RejectedRowError(f"the prompt is not in the conversation of {side}")
    return turns


PREFERENCE = Format(
    "preference",
    ("chosen", "rejected"),
    ("prompt", "input", "system", "history"),
    _read,
    {
        **exchange.NAMES,
        "prompt": ("prompt", "question", "instruction", "query", "conversations", "messages"),
    },
)
