"""A tokenizer's chat template: compiled once, with a fixed date and without random numbers."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import jinja2
import jinja2.nodes

# Its public function compiles a template into a cache that is shared with the whole process, and
# takes no callable that could stand in for strftime_now.
from transformers.utils.chat_template_utils import _compile_jinja_template

from gradgate.data.formats.fields import WHOLE
from gradgate.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message: TypeAlias = dict[str, Any]
_PROBE = "gradgate_reads_this_field"
_MAX_MESSAGE = 200  # characters of a template's own words in a reason
_UNCOMPILED = (jinja2.TemplateError, SyntaxError, ValueError, AssertionError, RecursionError)
_FAULTS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class TemplateFaultError(Exception):
    """The template does not render a conversation; the text is what it says about that."""


class ChatTemplate:
    """One of a tokenizer's chat templates.

    Attributes:
        specials: Matches the tokenizer's special tokens.
        reads_date: Whether it asks for today's date.
        names: All names in it that may be those of a message's fields; `WHOLE` among them where
            it writes fields that it does not name, as with `message.items()`.
    """

    def __init__(self, source: str, names: Mapping[str, str], specials: Sequence[str], date: str):
        """Compile it.

        Args:
            source: The Jinja template.
            names: The special tokens that it may read, by name, such as bos_token.
            specials: All special tokens.
            date: Today, YYYY-MM-DD.

        Raises:
            ModelError: It does not compile.
        """
        try:
            self._template = _compile_jinja_template.__wrapped__(source)  # one of its own
            parsed = self._template.environment.parse(source)
        except _UNCOMPILED as error:
            raise ModelError(
                f"the model's chat template does not compile: {_one_line(error)}; mend "
                "chat_template.jinja, or chat_template in tokenizer_config.json"
            ) from error
        names_read = {node.name for node in parsed.find_all(jinja2.nodes.Name)}
        self.reads_date = "strftime_now" in names_read
        self.names = frozenset(_names_of_fields(parsed))
        longest_first = sorted(filter(None, specials), key=len, reverse=True)
        self.specials = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._tokens = dict(names)
        environment = self._template.environment
        environment.globals["strftime_now"] = datetime.fromisoformat(date).strftime
        environment.globals.pop("lipsum", None)  # the other source of random text
        environment.filters["random"] = _first
        if any(map(self._writes_any_field_of, ("user", "assistant", "system", "tool"))):
            self.names |= {WHOLE}

    def _writes_any_field_of(self, role: str) -> bool:
        """Whether a field that nothing names changes what is written in a message of a role.

        A role that no conversation may have is not written; of users and assistants, which every
        template knows, that only says that nothing was found out, and True is answered.
        """
        is_known = False
        for before, behind in _around(role):
            for content in ("1", [{"type": "text", "text": "1"}]):
                turns = [{"role": one, "content": content} for one in (*before, role, *behind)]
                probed = [*turns]
                probed[len(before)] = {**turns[len(before)], _PROBE: "2"}
                try:
                    plain = self.render(turns, {})
                except TemplateFaultError:
                    continue
                is_known = True
                try:
                    if self.render(probed, {}) != plain:
                        return True
                except TemplateFaultError:
                    return True
        return not is_known and role in ("user", "assistant")

    def render(
        self, messages: Sequence[Message], inputs: Mapping[str, Any], prompt: bool = False
    ) -> str:
        """Render a conversation as `apply_chat_template` does, but for date and random numbers.

        Args:
            messages: Of JSON values, none of them null.
            inputs: tools, documents and chat_template_kwargs, each where there is one.
            prompt: Whether the beginning of an answer is asked for at the end.

        Raises:
            TemplateFaultError: The template refuses, or fails, or the row names a special token
                anew.
        """
        options = inputs.get("chat_template_kwargs", {})
        if not self._tokens.keys().isdisjoint(options):
            raise TemplateFaultError("chat_template_kwargs names a special token anew")
        try:
            text: str = self._template.render(
                messages=messages,
                tools=inputs.get("tools"),
                documents=inputs.get("documents"),
                add_generation_prompt=prompt,
                **{**self._tokens, **options},
            )
        except _FAULTS as error:
            raise TemplateFaultError(_one_line(error)) from error
        return text


def _around(role: str) -> list[tuple[list[str], list[str]]]:
    """The roles before and behind a message of a role, in conversations that templates take."""
    before = {"user": [], "assistant": ["user"], "tool": ["user", "assistant"], "system": []}[role]
    if role == "system":
        return [(before, ["user", "assistant"])]
    return [(before, []), (["system", *before], []), (before, ["user"]), ([], [])]


def _names_of_fields(parsed: jinja2.nodes.Template) -> Iterator[str]:
    """What may name a field: `message.x`, and 'x' wherever it stands, as in `message['x']`."""
    yield from (node.attr for node in parsed.find_all(jinja2.nodes.Getattr))
    values = (node.value for node in parsed.find_all(jinja2.nodes.Const))
    yield from (value for value in values if isinstance(value, str) and value.isidentifier())


@jinja2.pass_context  # as the filter that it stands for
def _first(context: object, values: Iterable[object]) -> object:
    return next(iter(values), "")


def chat_template(tokenizer: "PreTrainedTokenizerBase", date: str, tools: bool) -> ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: Of the model.
        date: Today, YYYY-MM-DD.
        tools: Whether there are tools; some models have a template of its own for them.

    Raises:
        ModelError: There is none, or it does not compile.
    """
    if tokenizer.chat_template is None:
        raise ModelError(
            "the data holds chat messages and the tokenizer has no chat template; take an "
            "instruct model, add chat_template.jinja to the model, or use prompt/completion text"
        )
    try:
        source = tokenizer.get_chat_template(None, [{}] if tools else None)
    except ValueError as error:
        raise ModelError(f"the model has no default chat template: {_one_line(error)}") from error
    names = tuple(sorted((name, str(t)) for name, t in tokenizer.special_tokens_map.items()))
    added = tokenizer.added_tokens_decoder.values()
    specials = frozenset(str(t) for t in added if t.special) | {tokenizer.eos_token or ""}
    return _compiled(source, names, specials, date)


@lru_cache(maxsize=8)
def _compiled(
    source: str, names: tuple[tuple[str, str], ...], specials: frozenset[str], date: str
) -> ChatTemplate:
    return ChatTemplate(source, dict(names), sorted(specials), date)


def _one_line(error: BaseException) -> str:
    line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
    text = (" ".join(str(error).split()) or type(error).__name__) + line
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."
