"""Prompt and completion: two strings, or two lists of chat messages."""

from gradgate.data.formats import exchange
from gradgate.data.formats.fields import Fields, Format, Parts, Reading, text_of, wrong_type
from gradgate.data.formats.messages import turns_of, with_system

_NAMES = {
    **exchange.NAMES,
    "prompt": ("prompt", "input"),
    "completion": ("completion", "response", "output", "answer"),
}


def _read(fields: Fields, reading: Reading) -> Parts:
    if not isinstance(fields.get("prompt"), list):
        prompt = text_of(fields, "prompt")
        return exchange.exchange(fields, prompt, prompt, text_of(fields, "completion"))
    prompt_turns = turns_of(fields["prompt"], "prompt", are_targets=False, reading=reading)
    if not isinstance(fields["completion"], list):  # text is never taken for messages as JSON
        raise wrong_type("completion", fields["completion"])
    completion = turns_of(fields["completion"], "completion", are_targets=True, reading=reading)
    return True, with_system(fields, prompt_turns + completion)


PROMPT_COMPLETION = Format(
    "prompt_completion", ("prompt", "completion"), ("system", "history"), _read, _NAMES
)
