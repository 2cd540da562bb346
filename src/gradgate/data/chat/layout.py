"""Where a template puts the texts of a conversation of some form, and what it puts between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradgate.data.chat.borders import MARK, Borders, Run, mark
from gradgate.data.chat.form import TAG, Form, Piece, Shape
from gradgate.data.chat.leaves import spellings
from gradgate.data.chat.template import ChatTemplate, TemplateFaultError
from gradgate.data.sample import RejectedRowError

_WRITTEN_PARTS = ("'text': '", '"text": "')  # a list of parts as Python or JSON writes it
_MAX_PIECES = 999_999  # that marks can number


@dataclass(frozen=True, slots=True)
class Layout:
    """The rendering of all conversations of one form.

    Attributes:
        literals: What stands before, between and behind the texts: one more than there are places.
        pieces: For each place, the number of the piece that stands there.
        targets: Where the turns stand that are learnt.
        is_last_only: Whether earlier turns were to be learnt, which cannot be told apart.
    """

    shape: Shape
    literals: list[str]
    pieces: list[int]
    targets: list[Run]
    is_last_only: bool


def lay_out(form: Form, template: ChatTemplate) -> Layout:
    """Try the shapes of messages that templates know, and take the first that loses no text.

    Raises:
        RejectedRowError: Each loses some, or the template refuses the conversation.
    """
    if len(form.pieces) > _MAX_PIECES:
        raise RejectedRowError(f"{len(form.pieces)} texts in one conversation")
    first: RejectedRowError | None = None
    for shape in _shapes(form):
        try:
            return _laid_out(form, shape, template)
        except RejectedRowError as error:
            first = first or error
    assert first is not None
    raise first


def _shapes(form: Form) -> Iterator[Shape]:
    for parts in (False, True):
        yield Shape(parts)
        if form.has_string_arguments:
            yield Shape(parts, parsed=True)


def _laid_out(form: Form, shape: Shape, template: ChatTemplate) -> Layout:
    marks = [mark(number) for number in range(len(form.pieces))]
    try:
        rendered = template.render(form.messages(marks, shape), form.inputs)
    except TemplateFaultError as error:
        said = MARK.sub("...", str(error))
        raise RejectedRowError(f"the chat template refuses this conversation: {said}") from error
    found = MARK.split(rendered)
    literals, pieces = found[::2], [int(number) for number in found[1::2]]
    if shape.parts and any(literal.endswith(_WRITTEN_PARTS) for literal in literals):
        raise RejectedRowError("the chat template knows no content that is a list of parts")
    _check_whole(form, pieces, rendered)
    borders = Borders(form, shape, template, literals, pieces)
    learnt = [number for number, turn in enumerate(form.turns) if turn.is_target]
    runs = [borders.of_turn(turn) for turn in learnt]
    if runs[-1] is None:
        raise RejectedRowError("the chat template repeats the answer, so that its place is open")
    targets = [run for run in runs if run is not None]
    is_last_only = len(targets) < len(runs)
    return Layout(shape, literals, pieces, targets[-1:] if is_last_only else targets, is_last_only)


def _check_whole(form: Form, found: Sequence[int], rendered: str) -> None:
    known = set(found)
    if known and max(known) >= len(form.pieces):
        raise RejectedRowError("a text of the row looks like the marks of the gate")
    for number, piece in enumerate(form.pieces):
        if number not in known:
            is_changed = mark(number).lower() in rendered.lower()
            raise _lost(form, piece, "changes" if is_changed else "drops")


def _lost(form: Form, piece: Piece, verb: str) -> RejectedRowError:
    role = form.turns[piece.turn].role
    if piece.kind == "text":
        tagged = " or a part of it" if TAG.search(form.turns[piece.turn].text) else ""
        return RejectedRowError(
            f"the chat template {verb} the {role} message{tagged}; take a chat template that keeps "
            "such messages, or write the rows without them"
        )
    what = {"thoughts": "thoughts", "call": "tool calls"}[piece.kind]
    return RejectedRowError(
        f"the chat template {verb} the {what} of the {role} message; take a chat template that "
        "keeps them, or write the rows without them"
    )


def match(rendered: str, layout: Layout, form: Form) -> list[tuple[int, int]]:
    """Where the texts stand in a rendered conversation of the form: (start, stop) of each place.

    Raises:
        RejectedRowError: They do not stand there, but for white space around them.
    """
    spans: list[tuple[int, int]] = []
    end = len(layout.literals[0])
    is_same = rendered.startswith(layout.literals[0])
    for place, number in enumerate(layout.pieces):
        behind = layout.literals[place + 1]
        is_last = place == len(layout.pieces) - 1
        piece = form.pieces[number]
        stop = _stop(rendered, end, piece.text, behind, is_last) if is_same else None
        if stop is None:
            raise _lost(form, piece, "changes")
        spans.append((end, stop))
        end = stop + len(behind)
    return spans


def _stop(rendered: str, start: int, text: str, behind: str, is_last: bool) -> int | None:
    """Where a text ends that starts there and has the literal behind it."""
    for spelling in spellings(text):
        stop = start + len(spelling)
        is_there = rendered.startswith(spelling, start) and rendered.startswith(behind, stop)
        if is_there and (not is_last or stop + len(behind) == len(rendered)):
            return stop
    return None
