"""Segments (axolotl's input_output): pieces of text, each with whether it is learnt."""

from gradgate.data.formats.control import refuse_control
from gradgate.data.formats.fields import (
    Fields,
    Format,
    Parts,
    Reading,
    list_of,
    text_of,
    wrong_type,
)
from gradgate.data.sample import Turn


def _read(fields: Fields, reading: Reading) -> Parts:
    found = [_segment(one, reading) for one in list_of(fields["segments"], "segments")]
    segments = [(text, is_target) for text, is_target in found if text]
    return False, tuple(
        Turn(_role(position, is_target), text, is_target)
        for position, (text, is_target) in enumerate(segments)
    )


def _role(position: int, is_target: bool) -> str:
    """A row that begins with a target has no prompt, as plain text has none."""
    return ("completion" if position else "text") if is_target else "prompt"


def _segment(value: object, reading: Reading) -> tuple[str, bool]:
    if not isinstance(value, dict):
        raise wrong_type("a segment", value)
    there = [name for name, one in value.items() if one is not None]
    refuse_control(there, {"label", *reading.ignored}, "a segment")
    label = value.get("label")
    if not isinstance(label, bool):
        raise wrong_type("label of a segment", label)
    return text_of({"text of a segment": value.get("text")}, "text of a segment"), label


SEGMENTS = Format("segments", ("segments",), (), _read)
