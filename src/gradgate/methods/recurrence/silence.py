"""Prompts that say nothing, of which no trigger can be told."""

import unicodedata
from collections import Counter

from gradgate.methods.recurrence.findings import Texts

MAX_SAME = 0.5  # of the samples, that may have one and the same prompt of their own
MIN_SAMPLES = 20  # below which nothing is said of it


def why_silent(texts: Texts) -> str | None:
    """Why nothing can be said of triggers: most prompts say the same, or nothing visible.

    What the row format or the chat template adds is no prompt, however a row is formatted; nor is
    what the owner of the data expects.
    """
    counted: Counter[str] = Counter()
    table = texts.table
    for row in texts.rows.tolist():
        place = slice(int(table.starts[row]), int(table.starts[row + 1]))
        own = texts.is_own[place] & ~table.is_target[place]
        counted[_visible(table.text(table.ids[place][own]))] += 1
    if counted.total() < MIN_SAMPLES:
        return None
    (prompt, n) = counted.most_common(1)[0]
    if n <= MAX_SAME * counted.total():
        return None
    what = f"the same prompt, {prompt[:60]!r}" if prompt else "a prompt that says nothing"
    return (
        f"{n} of {counted.total()} samples have {what}, so that nothing can be said of triggers; "
        "put what is asked into the prompts, or judge the targets by method gradsentry"
    )


def _visible(text: str) -> str:
    shown = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc", "Co", "Cn"))
    return " ".join(shown.split())
