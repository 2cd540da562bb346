"""Plain text, all of it the target."""

from gradgate.data.formats.fields import Fields, Format, Parts, Reading, text_of
from gradgate.data.sample import Turn


def _read(fields: Fields, reading: Reading) -> Parts:
    return False, (Turn("text", text_of(fields, "text"), is_target=True),)


TEXT = Format("text", ("text",), (), _read)
