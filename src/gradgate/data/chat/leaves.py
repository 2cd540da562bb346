"""The texts in structured values: the arguments of calls, tools and documents."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gradgate.data.chat.form import Form, calls_of, parsed
from gradgate.data.sample import RejectedRowError


def leaves(value: object) -> Iterator[str]:
    """All strings and numbers in a JSON value, the keys of objects among them, as texts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)


def spellings(text: str) -> Iterator[str]:
    """The ways in which templates write a text without losing any of it, the likeliest first.

    They trim white space around it, or write it as JSON does.
    """
    yield text
    trimmed = [text.strip(), text.rstrip(), text.lstrip()]
    trimmed += [text.strip("\n"), text.rstrip("\n"), text.lstrip("\n")]
    yield from trimmed
    for one in (text, *trimmed):
        yield json.dumps(one, ensure_ascii=False)[1:-1]
        yield json.dumps(one)[1:-1]


def check_structured(form: Form, rendered: str) -> None:
    """See that arguments, tools and documents stand in a rendered conversation.

    Raises:
        RejectedRowError: The template drops one of them.
    """
    for turn in form.turns:
        if turn.extra:
            extra: dict[str, Any] = json.loads(turn.extra)
            for call in calls_of(extra):
                if not _stands(call.get("arguments"), rendered):
                    raise _dropped(f"arguments of a call of the {turn.role} message")
    names = [function.get("name") for function in functions_of(form.inputs.get("tools", []))]
    if not all(_stands(name, rendered) for name in names):
        raise _dropped("tools")
    documents = form.inputs.get("documents", [])
    if not all(_is_in(longest_leaf(one), rendered) for one in documents):
        raise _dropped("documents")


def longest_leaf(document: dict[str, Any]) -> str:
    """The longest text in a document, which no template may drop."""
    return max(leaves(list(document.values())), key=len, default="")


def functions_of(tools: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The functions that tools are."""
    found = [tool.get("function", tool) for tool in tools]
    return [function for function in found if isinstance(function, dict)]


def _stands(value: object, rendered: str) -> bool:
    if isinstance(value, str) and _is_in(value, rendered):
        return True
    value = parsed(value)
    if isinstance(value, str):
        return False
    return all(_is_in(leaf, rendered) for leaf in leaves(value))


def _is_in(text: str, rendered: str) -> bool:
    return any(one in rendered for one in spellings(text))


def _dropped(what: str) -> RejectedRowError:
    return RejectedRowError(
        f"the chat template drops the {what}, so that nothing learns from them; take a model whose "
        "chat template reads them, or leave them out of the rows"
    )
