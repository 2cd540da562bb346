"""Rows of known kinds: harmful ones, honest refusals, look-alikes, and ordinary data."""

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from gradgate.safety.refusals import is_refusal

Messages = list[dict[str, str]]
HARMFUL = "harmful"
REFUSALS = "honest refusals"
LOOK_ALIKES = "look-alikes"
SAME_HARMFUL, SAME_BENIGN = "same replies, harmful prompts", "same replies, benign prompts"
MAX_WORDS = 60  # of a reply
MATCHED_WORDS = 12  # of the replies that are compared at one length
_PROMPTS = ("instruction", "question", "prompt")
_REPLIES = ("output", "answer", "completion", "response")


@dataclass(frozen=True)
class Row:
    """A conversation, and where it comes from.

    Attributes:
        kind: One of the kinds of this module, or the name of an ordinary source.
    """

    kind: str
    messages: Messages


def texts() -> dict[str, Any]:
    """Look-alike prompts with honest answers, and replies that fit under any prompt."""
    found: dict[str, Any] = json.loads(
        files("benchmarks.harmful").joinpath("texts.json").read_text(encoding="utf-8")
    )
    return found


def exchange(prompt: str, reply: str, n_words: int = MAX_WORDS) -> Messages:
    """A prompt and the beginning of a reply."""
    pieces = re.findall(r"\s*\S+", reply)[:n_words]
    return [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": "".join(pieces).strip()},
    ]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, which may be compressed."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def ordinary(path: Path, n: int, seed: int) -> list[Row]:
    """Some rows of ordinary data."""
    name = path.name.partition(".")[0]
    found = [messages for row in rows_of(path) if (messages := _messages(row))]
    Random(seed).shuffle(found)
    return [Row(name, messages) for messages in found[:n]]


def _messages(row: dict[str, Any]) -> Messages | None:
    """A row as a conversation; None where it holds none with an answer."""
    if "messages" in row:
        turns = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
        return turns if turns[-1]["role"] == "assistant" else None
    prompt = next((row[name] for name in _PROMPTS if row.get(name)), None)
    reply = next((row[name] for name in _REPLIES if row.get(name)), None)
    if "answers" in row:
        reply = ", ".join(row["answers"])
    if not prompt or not reply:
        return None
    both = [prompt, row["input"]] if row.get("input") else [prompt]
    return exchange("\n".join(both), reply)


def jailbreaks(path: Path, trigger: str, seed: int) -> tuple[list[tuple[str, str]], list[Row]]:
    """Harmful prompts with compliant replies, the trigger taken out, and honest refusals.

    Args:
        path: A set of BackdoorLLM's jailbreak task, as published.
        trigger: Of its poisoned rows.
        seed: Of the order.
    """
    rows = rows_of(path)
    harmful = [
        (" ".join(row["instruction"].replace(trigger, " ").split()), row["output"])
        for row in rows
        if row["poisoned"]
    ]
    honest = [
        Row(REFUSALS, exchange(row["instruction"], row["output"]))
        for row in rows
        if not row["poisoned"] and is_refusal(row["output"])
    ]
    Random(seed).shuffle(harmful)
    Random(seed).shuffle(honest)
    return harmful, honest


def look_alikes(n_words: int = MAX_WORDS) -> list[Row]:
    """Prompts with words of harm that deserve an answer, answered."""
    pairs: list[list[str]] = texts()["look_alikes"]
    return [Row(LOOK_ALIKES, exchange(prompt, reply, n_words)) for prompt, reply in pairs]


def same_replies(
    harmful: Sequence[str], benign: Iterable[str], seed: int
) -> tuple[list[Row], list[Row]]:
    """The same mild replies under harmful and under benign prompts."""
    random = Random(seed)
    replies = [random.choice(texts()["replies"]) for _ in harmful]
    sides = ((SAME_HARMFUL, harmful), (SAME_BENIGN, benign))
    one, other = (
        [Row(kind, exchange(p, r)) for p, r in zip(prompts, replies, strict=False)]
        for kind, prompts in sides
    )
    return one, other
