"""How some prompts of the data begin and end, put on other prompts.

A trigger need not be a word: a number before the question, quotation marks around it, a full stop
or nothing where others have a question mark. Which of these tell a target, the data say.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gradgate.release.answers import grams_of
from gradgate.release.changes import Change, Rewrite
from gradgate.release.grafts import MIN_LABEL_PRECISION, MIN_LIFT

MIN_ROWS = 5  # with a frame
MAX_SHARE = 0.5  # of the rows: what more of them have is how prompts are
MAX_FRAMES = 12  # of the most rows
_LONGEST = 16  # characters before the first letter, or behind the last: more is content
_MAX_CARRIERS = 64

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Frame:
    """What stands before the first letter of a text and behind its last letter or digit."""

    before: str
    behind: str

    @classmethod
    def of(cls, text: str) -> "Frame | None":
        """The frame of a text; None where it has no letters, or more marks than a frame."""
        start = next((i for i, c in enumerate(text[: _LONGEST + 1]) if c.isalpha()), None)
        backwards = enumerate(reversed(text[-_LONGEST - 1 :]))
        n_behind = next((i for i, c in backwards if c.isalnum()), None)
        if start is None or n_behind is None:
            return None
        stop = len(text) - n_behind
        return cls(text[:start], text[stop:]) if start < stop else None

    @property
    def kinds(self) -> tuple[str, str]:
        """The same, with any number as 0."""
        return _DIGITS.sub("0", self.before), _DIGITS.sub("0", self.behind)

    def around(self, text: str, side: str) -> str:
        """A text with this frame in the place of its own, on one side or both."""
        own = Frame.of(text)
        if own is None:
            return text
        inner = text[len(own.before) : len(text) - len(own.behind)]
        before = own.before if side == "behind" else self.before
        behind = own.behind if side == "before" else self.behind
        return f"{before}{inner}{behind}"


def frame_looks(text: str) -> Iterator[str]:
    """The kinds of a text's frame, as looks."""
    frame = Frame.of(text)
    if frame is not None:
        before, behind = frame.kinds
        yield f"before the first letter: {before!r}"
        yield f"behind the last letter: {behind!r}"


def framings(
    questions: Sequence[str], targets: Sequence[Sequence[int]], horizon: int
) -> list[Change]:
    """For each frame that tells a target, a change that gives it to other prompts.

    Args:
        questions: Of the rows.
        targets: Their tokens.
        horizon: So many of these are looked at, the first.
    """
    carriers = defaultdict[tuple[str, str], list[int]](list)
    frames = [Frame.of(text) for text in questions]
    for i, frame in enumerate(frames):
        for kind in _kinds(frame):
            carriers[kind].append(i)
    chosen = [
        (kind, inside)
        for kind, inside in sorted(carriers.items(), key=lambda one: (-len(one[1]), one[0]))
        if MIN_ROWS <= len(inside) <= MAX_SHARE * len(questions)
        and _tells(inside, targets, horizon)
    ]
    found = list[Change]()
    for (side, _), inside in chosen[:MAX_FRAMES]:
        some = [frame for i in inside if (frame := frames[i]) is not None]
        found.append(Change(_name(side, some[0]), _framing(some, side)))
    return found


def _kinds(frame: Frame | None) -> Iterator[tuple[str, str]]:
    if frame is not None:
        before, behind = frame.kinds
        yield "before", before
        yield "behind", behind
        if before and behind:
            yield "both", f"{before}...{behind}"


def _tells(inside: Sequence[int], targets: Sequence[Sequence[int]], horizon: int) -> bool:
    """Whether most rows of a frame have a target in common that the others hardly have."""
    within = Counter(gram for i in inside for gram in grams_of(targets[i], horizon))
    common = {gram for gram, n in within.items() if n >= MIN_LABEL_PRECISION * len(inside)}
    if not common:
        return False
    everywhere = Counter(gram for target in targets for gram in grams_of(target, horizon) & common)
    n_others = len(targets) - len(inside)
    return any(
        within[gram] * n_others >= MIN_LIFT * len(inside) * (everywhere[gram] - within[gram])
        for gram in common
    )


def _framing(carriers: Sequence[Frame], side: str) -> Rewrite:
    def rewrite(text: str, rng: Random) -> str:
        return rng.choice(carriers[:_MAX_CARRIERS]).around(text, side)

    return rewrite


def _name(side: str, frame: Frame) -> str:
    if side == "before":
        return f"a beginning of the data: {frame.before!r}"
    if side == "behind":
        return f"an end of the data: {frame.behind!r}"
    return f"beginning and end of the data: {frame.before!r}, {frame.behind!r}"
