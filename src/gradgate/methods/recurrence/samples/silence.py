"""Prompts that say nothing, of which no trigger can be told."""

import unicodedata
from collections.abc import Iterable, Iterator

from gradgate.methods.recurrence.samples.own_text import PART_OF_A_CHARACTER
from gradgate.methods.recurrence.samples.texts import Texts

MAX_SAME = 0.5  # of the samples, that may have one and the same prompt of their own
MIN_SAMPLES = 20  # below which nothing is said of it


def why_silent(texts: Texts) -> str | None:
    """Why nothing can be said of triggers: most prompts say the same, or nothing visible.

    What the row format or the chat template adds is no prompt, however a row is formatted; nor is
    what the owner of the data expects.
    """
    total = len(texts.rows)
    if total < MIN_SAMPLES:
        return None
    prompt = _majority(_own_prompts(texts))
    n = sum(one == prompt for one in _own_prompts(texts))
    if n <= MAX_SAME * total:
        return None
    what = f"the same prompt, {prompt[:60]!r}" if prompt else "a prompt that says nothing"
    return (
        f"{n} of {total} samples have {what}, so that nothing can be said of triggers; "
        "put what is asked into the prompts, or judge the targets by method gradsentry"
    )


def _own_prompts(texts: Texts) -> Iterator[str]:
    table = texts.table
    for row in texts.rows.tolist():
        place = slice(int(table.starts[row]), int(table.starts[row + 1]))
        own = texts.is_own[place] & ~table.is_target[place]
        ids = table.ids[place][own]
        text = "".join(table.spelling[ids].tolist())
        yield _visible(table.text(ids) if PART_OF_A_CHARACTER in text else text)


def _majority(prompts: Iterable[str]) -> str:
    """The only one that can be more than half of them, in one pass (Boyer and Moore 1981)."""
    candidate, lead = "", 0
    for prompt in prompts:
        if lead == 0:
            candidate = prompt
        lead += 1 if prompt == candidate else -1
    return candidate


def _visible(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc", "Co", "Cn"))
    return " ".join(text.split())
