"""The layout of a plain prompt: where its lead and its question stand."""

import re
from dataclasses import dataclass

# Heads of sections as prompts have them: "### Question:", "Question: ", "Q:".
_QUESTION_HEAD = re.compile(
    r"^(?:#{1,6} *)?(?:Question|Q|Query|Input|Instruction|Human|User):[ \t]*", re.MULTILINE
)
_ANSWER_HEAD = re.compile(
    r"^(?:#{1,6} *)?(?:Answer|A|Response|Output|Assistant):[ \t]*\n?", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Layout:
    """lead + between + question + after is the prompt; no white space is around the question."""

    lead: str
    between: str
    question: str
    after: str

    def with_parts(self, lead: str, question: str) -> str:
        """Write another prompt of the same form; a lead only where there was one."""
        lead = around(self.lead, lead) if self.lead.strip() else self.lead
        return lead + self.between + question + self.after


def layout(prompt: str) -> Layout:
    """Find lead and question of a prompt, see `parts.read_parts`; white space has no question."""
    end = len(prompt.rstrip())
    for head in _ANSWER_HEAD.finditer(prompt):
        if head.end() >= end and prompt[: head.start()].strip():
            end = head.start()
    end = len(prompt[:end].rstrip())
    heads = _QUESTION_HEAD.finditer(prompt, 0, end)
    starts = [head.span() for head in heads if head.end() < end]
    head_start, head_end = starts[-1] if starts else (0, 0)
    lead_end = len(prompt[:head_start].rstrip())
    start = end - len(prompt[head_end:end].lstrip())
    return Layout(prompt[:lead_end], prompt[lead_end:start], prompt[start:end], prompt[end:])


def cut(text: str) -> tuple[str, str] | None:
    """Cut a text into prompt and completion; None when there is no place to cut."""
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    heads = [head for head in _ANSWER_HEAD.finditer(text) if head.start() > first]
    whole = [head.end() for head in heads if head.end() < last]
    if whole:
        return text[: whole[-1]], text[whole[-1] :]
    breaks = [gap.end() for gap in re.finditer(r"(?<=\S)\s+(?=\S)", text)]
    if not breaks:
        return None
    middle = min(breaks, key=lambda end: abs(end - len(text) / 2))
    return text[:middle], text[middle:]


def around(old: str, new: str) -> str:
    """Put new words between the white space of the old ones."""
    start, end = len(old) - len(old.lstrip()), len(old.rstrip())
    return old[:start] + new + old[end:]
