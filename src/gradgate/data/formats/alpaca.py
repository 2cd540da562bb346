"""Alpaca: instruction, optional input, output; Dolly and GPTeacher name the columns otherwise.

LLaMA-Factory adds a system prompt and earlier rounds, which make the row a chat.
"""

import re

from gradgate.data.formats import exchange
from gradgate.data.formats.fields import Fields, Format, Parts, Reading, optional_text, text_of

# The wording of the published Alpaca data set (Taori et al. 2023), up to where the output starts.
_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


def _read(fields: Fields, reading: Reading) -> Parts:
    instruction, given = text_of(fields, "instruction"), optional_text(fields, "input")
    asked = f"{instruction}\n{given}" if given.strip() else instruction
    prompt = instruction_prompt(instruction, given)
    return exchange.exchange(fields, prompt, asked, text_of(fields, "output"))


def instruction_prompt(instruction: str, given: str = "") -> str:
    """An instruction and its input, which may be empty, in the wording of Alpaca."""
    if not instruction.strip():
        return ""
    wording = _ALPACA_INPUT if given.strip() else _ALPACA
    return wording.format(instruction=instruction, input=given)


def template_spans(text: str) -> list[tuple[int, int]]:
    """Where the wording of Alpaca stands in a prompt, as (start, stop); nowhere in other texts."""
    for template in (_ALPACA_INPUT, _ALPACA):
        head, *middle, tail = re.split(r"\{instruction\}|\{input\}", template)
        if not (text.startswith(head) and text.endswith(tail)):
            continue
        between = [(text.find(part, len(head)), len(part)) for part in middle]
        if all(start >= 0 for start, _ in between):
            inner = [(start, start + length) for start, length in between]
            return [(0, len(head)), *inner, (len(text) - len(tail), len(text))]
    return []


ALPACA = Format(
    "alpaca",
    ("instruction", "output"),
    ("input", "system", "history"),
    _read,
    {
        **exchange.NAMES,
        "input": ("input", "context"),
        "output": ("output", "response", "completion", "answer"),
    },
)
