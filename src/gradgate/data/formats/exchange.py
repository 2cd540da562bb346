"""A prompt and an answer: two texts, or a chat where the row has what only a chat can hold."""

from gradgate.data.formats.fields import (
    Fields,
    Parts,
    list_of,
    optional_text,
    plain,
    text_of,
    wrong_type,
)
from gradgate.data.sample import RejectedRowError, Turn

# LLaMA-Factory renders every row by the chat template; elsewhere a row with a system prompt, with
# earlier turns or with tools is a chat as well.
OF_A_CHAT = ("system", "history", "tools")
NAMES = {"system": ("system", "system_prompt")}


def exchange(fields: Fields, prompt: str, asked: str, answer: str) -> Parts:
    """The turns of a row that has a prompt and an answer.

    Args:
        fields: Of the row; it is a chat where one of `OF_A_CHAT` is there.
        prompt: The prompt as plain text.
        asked: The same as the user of a chat says it.
        answer: The target.

    Raises:
        RejectedRowError: The system prompt or the earlier turns cannot be read.
    """
    if not any(fields.get(name) is not None for name in OF_A_CHAT):
        return False, plain(prompt, answer)
    system = optional_text(fields, "system")
    opening = (Turn("system", system, is_target=False),) if system.strip() else ()
    return True, (*opening, *_history(fields), *_round(asked, answer))


def _history(fields: Fields) -> tuple[Turn, ...]:
    """Earlier rounds, each a pair of question and answer; the answers are learnt as well."""
    if fields.get("history") in (None, ""):
        return ()
    turns: list[Turn] = []
    for pair in list_of(fields["history"], "history"):
        if not isinstance(pair, list):
            raise wrong_type("a round of history", pair)
        if len(pair) != 2:
            raise RejectedRowError("a round of history is no pair of question and answer")
        texts = [text_of({"a turn of history": text}, "a turn of history") for text in pair]
        turns += _round(*texts)
    return tuple(turns)


def _round(asked: str, answer: str) -> tuple[Turn, Turn]:
    return Turn("user", asked, is_target=False), Turn("assistant", answer, is_target=True)
