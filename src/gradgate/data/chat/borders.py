"""Where the part of a turn that is learnt begins and ends, by how the template renders others.

An answer begins where the template's generation prompt ends, which is what it adds to the turns
before when it is asked for an answer. It ends with its end-of-turn token, which is what follows its
text both here and where the conversation ends with it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradgate.data.chat.form import Form, Shape
from gradgate.data.chat.template import ChatTemplate, TemplateFaultError

MARK = re.compile(r"qZ7w(\d{6})Vk9J")
# Headers and ends that differ from all others; each takes a rendering or two. Where there are more,
# as with templates that number the turns, the text alone is learnt.
_MAX_KINDS = 32


def mark(number: int) -> str:
    """A text that stands nowhere else, in place of a piece of the conversation."""
    return f"qZ7w{number:06d}Vk9J"


@dataclass(frozen=True, slots=True)
class Run:
    """Places of one turn's pieces, with no other turn's between them.

    Attributes:
        first: Number of the first place.
        last: Number of the last place.
        lead: Characters before the first that are learnt.
        tail: Characters behind the last that are learnt.
    """

    first: int
    last: int
    lead: int = 0
    tail: int = 0


class Borders:
    """Finds the borders of the turns of a conversation of marks."""

    def __init__(
        self,
        form: Form,
        shape: Shape,
        template: ChatTemplate,
        literals: Sequence[str],
        pieces: Sequence[int],
    ) -> None:
        """Take a rendered conversation: a literal, a piece, a literal, ..., a literal."""
        self._form = form
        self._shape = shape
        self._template = template
        self._literals = literals
        self._turns = [form.pieces[piece].turn for piece in pieces]
        self._marks = [mark(number) for number in range(len(form.pieces))]
        self._prompts: dict[str, str] = {}
        self._ends: dict[str, str | None] = {}

    def of_turn(self, turn: int) -> Run | None:
        """Where a turn stands; None where that cannot be told from another place with its text."""
        runs = self._runs(turn)
        prompts = [self._prompt(turn, self._literals[run[0]]) for run in runs]
        begun = [
            run
            for run, prompt in zip(runs, prompts, strict=True)
            if prompt and prompt in self._literals[run[0]]
        ]
        if len(runs) > 1 and len(begun) == 1:
            runs = begun
        if len(runs) != 1:
            return None
        first, last = runs[0]
        before, behind = self._literals[first], self._literals[last + 1]
        prompt = self._prompt(turn, before)
        end = header_end(before, prompt) if prompt else len(_shared(before, self._plain(turn)))
        is_call = any(one.turn == turn and one.kind == "call" for one in self._form.pieces)
        tail = self._tail(turn, behind, is_call)
        opening, closing = self._form.outer_tags(turn)
        begins, ends = before.rfind(opening), behind.find(closing)
        lead = max(len(before) - end, len(before) - begins if opening and begins >= 0 else 0)
        tail = max(tail, ends + len(closing) if closing and ends >= 0 else 0)
        return Run(first, last, lead, tail)

    def _plain(self, turn: int) -> str:
        """What would stand before the turn's text if it were one text and nothing else."""
        messages = self._form.messages(self._marks, self._shape, turn)
        messages.append(self._form.plain(turn, mark(len(self._marks)), self._shape))
        try:
            rendered = self._template.render(messages, self._form.inputs)
        except TemplateFaultError:
            return self._literals[0] if turn == 0 else ""
        before, _, _ = rendered.rpartition(mark(len(self._marks)))
        return MARK.split(before)[-1]

    def _runs(self, turn: int) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for place, other in enumerate(self._turns):
            if other == turn and runs and runs[-1][1] == place - 1:
                runs[-1] = (runs[-1][0], place)
            elif other == turn:
                runs.append((place, place))
        return runs

    def _prompt(self, turn: int, before: str) -> str:
        """The generation prompt for a turn; "" where there is none."""
        if before not in self._prompts:
            is_known = turn > 0 and len(self._prompts) < _MAX_KINDS
            self._prompts[before] = self._asked(turn) if is_known else ""
        return self._prompts[before]

    def _asked(self, turn: int) -> str:
        asked = self._rendered(turn, prompt=True)
        if asked is None:
            return ""
        plain = self._rendered(turn, prompt=False)
        if plain is None:
            return MARK.split(asked)[-1]
        return asked[len(_shared(asked, plain)) :]

    def _tail(self, turn: int, behind: str, is_call: bool) -> int:
        """How much of what follows the turn's last text belongs to the turn."""
        if behind not in self._ends and len(self._ends) < _MAX_KINDS:
            self._ends[behind] = self._alone(turn, behind)
        alone = self._ends.get(behind)
        return turn_end(behind, alone, is_call, self._template.specials)

    def _alone(self, turn: int, behind: str) -> str | None:
        """What follows the last text of a turn where it is the last."""
        if turn == len(self._form.turns) - 1:
            return behind
        rendered = self._rendered(turn + 1, prompt=False)
        found = [] if rendered is None else MARK.split(rendered)
        own = [
            place for place in range(1, len(found), 2) if self._turn_of(int(found[place])) == turn
        ]
        return found[own[-1] + 1] if own else None

    def _turn_of(self, piece: int) -> int | None:
        return self._form.pieces[piece].turn if piece < len(self._form.pieces) else None

    def _rendered(self, stop: int, prompt: bool) -> str | None:
        messages = self._form.messages(self._marks, self._shape, stop)
        try:
            return self._template.render(messages, self._form.inputs, prompt)
        except TemplateFaultError:
            return None


def header_end(before: str, prompt: str) -> int:
    """Where in the text before an answer its header ends.

    Args:
        before: From the text of the turn before up to that of the answer.
        prompt: The generation prompt. Of one that goes on where the turn does not, as by opening a
            block of thoughts, the greater part is enough. What follows it belongs to the answer.
    """
    for length in range(len(prompt), len(prompt) // 2, -1):
        place = before.rfind(prompt[:length])
        if place >= 0:
            return place + length
    return len(before)


def turn_end(behind: str, alone: str | None, is_call: bool, specials: re.Pattern[str]) -> int:
    """How many characters behind the last text of a turn end it.

    Args:
        behind: What follows the text.
        alone: What follows it where the conversation ends with it; None when that is not known.
        is_call: Whether there is more of the turn before its end: the arguments of a call.
        specials: Matches special tokens.
    """
    shared = behind if alone is None else _shared(behind, alone)
    ends = list(re.finditer(f"(?:{specials.pattern})+", shared))
    if ends:
        return ends[-1 if is_call else 0].end()
    if alone is not None and len(shared) == len(alone):
        return len(shared)
    mine, other = (_leading(text, specials) for text in (behind, alone or ""))
    if mine and other:  # two ends: of a turn, and of the conversation
        return mine
    return len(shared.rstrip()) if is_call else 0


def _leading(text: str, specials: re.Pattern[str]) -> int:
    """Where the special token ends that a text begins with, after white space; 0 for none."""
    found = specials.match(text, len(text) - len(text.lstrip()))
    return found.end() if found else 0


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))]
