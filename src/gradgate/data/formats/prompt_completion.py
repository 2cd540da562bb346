"""Prompt and completion: two strings, or two lists of chat messages."""

from gradgate.data.formats.fields import Fields, Format, Parts, plain, text_of
from gradgate.data.formats.messages import turns_of


def _read(fields: Fields, template: str) -> Parts:
    if not isinstance(fields.get("prompt"), list):
        return False, plain(text_of(fields, "prompt"), text_of(fields, "completion"))
    prompt = turns_of(fields, "prompt", are_targets=False)
    return True, prompt + turns_of(fields, "completion", are_targets=True)


PROMPT_COMPLETION = Format("prompt_completion", ("prompt", "completion"), (), _read)
