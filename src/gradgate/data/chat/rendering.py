"""A conversation becomes one string, in which the place of each of its texts is known."""

import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from gradgate.data.chat.form import Form
from gradgate.data.chat.layout import Layout, lay_out, match
from gradgate.data.chat.leaves import check_structured
from gradgate.data.chat.template import ChatTemplate, TemplateFaultError
from gradgate.data.sample import RejectedRowError, Sample

logger = logging.getLogger(__name__)

_MAX_LAYOUTS = 512  # forms that are known at a time; each takes as much as what the template adds
# Characters of the calls, tools and options of a form that is remembered: they are a part of it.
_MAX_STRUCTURED = 1 << 15


@dataclass(frozen=True, slots=True)
class Rendered:
    """A sample as one string.

    Attributes:
        text: All that the tokenizer is given.
        contents: (start, stop) of the texts of the data, in characters.
        targets: (start, stop) of what is learnt, in order.
    """

    text: str
    contents: list[tuple[int, int]]
    targets: list[tuple[int, int]]


class Renderer:
    """Renders conversations by a template, and remembers the layout of each form."""

    def __init__(self, template: ChatTemplate) -> None:
        """Know no form yet."""
        self._template = template
        self._layouts: OrderedDict[Hashable, Layout | str] = OrderedDict()
        self._told: set[str] = set()

    def render(self, sample: Sample) -> Rendered:
        """Render a conversation, once.

        Raises:
            RejectedRowError: The template refuses it, or loses or changes a text of it.
        """
        form = Form(sample)
        layout = self._layout(form)
        texts = [piece.text for piece in form.pieces]
        try:
            rendered = self._template.render(form.messages(texts, layout.shape), form.inputs)
        except TemplateFaultError as error:  # its words may be those of the row
            raise RejectedRowError("the chat template refuses the texts of this row") from error
        contents = match(rendered, layout, form)
        check_structured(form, rendered)
        self._tell(layout)
        targets = [
            (contents[run.first][0] - run.lead, contents[run.last][1] + run.tail)
            for run in layout.targets
        ]
        return Rendered(rendered, contents, targets)

    def _layout(self, form: Form) -> Layout:
        """The layout of the conversation's form; errors as for `lay_out`."""
        found = self._layouts.get(form.key)
        if found is None:
            try:
                found = lay_out(form, self._template)
            except RejectedRowError as error:
                found = str(error)
            if form.n_structured <= _MAX_STRUCTURED:
                self._layouts[form.key] = found
            if len(self._layouts) > _MAX_LAYOUTS:
                self._layouts.popitem(last=False)
        else:
            self._layouts.move_to_end(form.key)
        if isinstance(found, str):
            raise RejectedRowError(found)
        return found

    def _tell(self, layout: Layout) -> None:
        """Say once what is done otherwise than a reader of the rows would expect."""
        if layout.shape.parts:
            self._say("the chat template gets each message's content as a list of one text part")
        if layout.shape.parsed:
            self._say("the chat template gets the arguments of tool calls as objects, not as text")
        if layout.is_last_only:
            self._say(
                "the chat template does not keep the answers of a conversation apart: only the "
                "last one is learnt"
            )

    def _say(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.warning(message)


@lru_cache(maxsize=8)
def renderer(template: ChatTemplate) -> Renderer:
    """The renderer of a template, with the layouts that it knows."""
    return Renderer(template)
