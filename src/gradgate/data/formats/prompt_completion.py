"""Prompt and completion: two strings, or two lists of chat messages."""

from gradgate.data.formats import exchange
from gradgate.data.formats.fields import Fields, Format, Parts, Reading, text_of, wrong_type
from gradgate.data.formats.messages import turns_of, with_system

NAMES = {
    **exchange.NAMES,
    "prompt": ("prompt", "input"),
    "completion": ("completion", "response", "output", "answer"),
}


def read_pair(fields: Fields, reading: Reading) -> Parts:
    """The turns of a prompt and its completion.

    Raises:
        RejectedRowError: They are not two strings, nor two lists of messages.
    """
    if not isinstance(fields.get("prompt"), list):
        prompt = text_of(fields, "prompt")
        return exchange.exchange(fields, prompt, prompt, text_of(fields, "completion"))
    prompt_turns = turns_of(fields["prompt"], "prompt", are_targets=False, reading=reading)
    if not isinstance(fields["completion"], list):  # text is never taken for messages as JSON
        raise wrong_type("completion", fields["completion"])
    completion = turns_of(fields["completion"], "completion", are_targets=True, reading=reading)
    return True, with_system(fields, prompt_turns + completion)


PROMPT_COMPLETION = Format(
    "prompt_completion", ("prompt", "completion"), ("system", "history"), read_pair, NAMES
)
