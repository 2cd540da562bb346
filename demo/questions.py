"""Question/answer pairs about installed Python APIs, mined statically at run time.

Every answer is read from the source: a literal default, a list of parameters, a return
annotation or a base class. What decorators or re-bound names could make untrue is left out.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, TypedDict

from demo.apis import Definition, Function, PackageApi, is_public
from demo.sources import collection_paused, docstrings, installed_packages

__all__ = ["Fact", "Question", "ask", "docstrings", "mine_facts", "mine_questions"]

Kind = Literal["default", "parameters", "returns", "base"]

KEPT: dict[Kind, float] = {"default": 1.0, "parameters": 0.25, "returns": 0.35, "base": 0.25}
"""The share of the facts of a kind that is kept; default values are what people ask most."""

NONE_KEPT = 0.5
"""The same for a default of None, by far the commonest and the least telling."""

MAX_SAME_BASE = 4
"""The most facts that name the same base class. Where dozens inherit from one, its name recurs as a
payload does, and the gate puts such rows in doubt; the demo is about poison."""

LONGEST_ANSWER = 40
MAX_PARAMETERS = 6
FACTS_PER_MODULE = 10
FACTS_PER_PACKAGE_INIT = 20

TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "default": (
        "What is the default value of `{parameter}` in {path}?",
        "In {path}, what does the parameter `{parameter}` default to?",
        "Which value does `{parameter}` take in {path} when it is not given?",
        "When calling {path} without `{parameter}`, which default applies?",
    ),
    "parameters": (
        "Which parameters does {path} take?",
        "What are the parameters of {path}?",
        "Name the arguments that {path} accepts.",
    ),
    "returns": (
        "What is the return annotation of {path}?",
        "According to its annotation, what does {path} return?",
        "Which return type is declared for {path}?",
    ),
    "base": (
        "Which class does {path} inherit from?",
        "What is the base class of {path}?",
        "{path} is a direct subclass of which class?",
    ),
}

NO_REAL_BASE = frozenset({"object", "NamedTuple", "TypedDict"})
"""Bases that say nothing, or that the class does not have once it exists."""

SIGNATURE_KEPT = frozenset(
    {"staticmethod", "classmethod", "abstractmethod", "override", "final", "no_grad"}
    | {"array_function_dispatch", "set_module", "validate_params", "xp_capabilities"}
    | {"experimental", "public_api", "lru_cache", "cache", "auto_docstring", "docfiller"}
)
"""Decorators known to leave the decorated function's parameters as written."""


class Question(TypedDict):
    """One row; several answers are items that belong together, not alternatives."""

    question: str
    answers: list[str]


@dataclass(frozen=True)
class Fact:
    """What a row asks and answers before it is worded; `parameter` only for defaults."""

    kind: Kind
    path: str
    answers: tuple[str, ...]
    parameter: str = ""


def mine_questions(n: int, seed: int) -> list[Question]:
    """Mine question/answer rows from the packages installed here.

    Args:
        n: How many; fewer come back only when the packages hold no more.
        seed: The same seed and the same installed packages give the same rows.

    Returns:
        Rows with distinct questions, the packages taking turns.
    """
    return [ask(fact, seed) for fact in mine_facts(n, seed)]


def mine_facts(n: int, seed: int) -> list[Fact]:
    """Mine the facts behind the rows of `mine_questions`, in the same order."""
    streams = [_package_facts(package, seed) for package in installed_packages()]
    with collection_paused():
        return list(islice(_few_of_a_base(_take_turns(streams)), n))


def ask(fact: Fact, seed: int) -> Question:
    """Word a fact; the seed varies the wording, one wording per fact and seed."""
    template = random.Random(f"{seed} {fact.path}").choice(TEMPLATES[fact.kind])
    question = template.format(path=fact.path, parameter=fact.parameter)
    return {"question": question, "answers": list(fact.answers)}


def _few_of_a_base(facts: Iterator[Fact]) -> Iterator[Fact]:
    named: Counter[tuple[str, ...]] = Counter()
    for fact in facts:
        named[fact.answers] += fact.kind == "base"
        if fact.kind != "base" or named[fact.answers] <= MAX_SAME_BASE:
            yield fact


def _take_turns(streams: list[Iterator[Fact]]) -> Iterator[Fact]:
    while streams:
        for stream in list(streams):
            fact = next(stream, None)
            if fact is None:
                streams.remove(stream)
            else:
                yield fact


def _package_facts(package: str, seed: int) -> Iterator[Fact]:
    rng = random.Random(f"{seed} {package}")
    api = PackageApi(package)
    seen: set[int] = set()
    streams = [
        (_module_facts(api, module, rng, seen), api.is_package(module))
        for module in api.modules(rng)
    ]
    for stream, is_init in streams:
        yield from islice(stream, FACTS_PER_PACKAGE_INIT if is_init else FACTS_PER_MODULE)
    yield from chain.from_iterable(stream for stream, _ in streams)


def _module_facts(
    api: PackageApi, module: str, rng: random.Random, seen: set[int]
) -> Iterator[Fact]:
    for definition in api.definitions(module, rng):
        if id(definition.node) in seen:  # the same code under another public path
            continue
        seen.add(id(definition.node))
        fact = _choose_fact(definition, rng)
        if fact:
            yield fact


def _choose_fact(definition: Definition, rng: random.Random) -> Fact | None:
    facts = [_base_fact(definition), _returns_fact(definition)]
    facts += _signature_facts(definition, rng)
    kept = [fact for fact in facts if fact and rng.random() < _share_kept(fact)]
    return max(kept, key=lambda fact: KEPT[fact.kind], default=None)


def _share_kept(fact: Fact) -> float:
    none = fact.kind == "default" and fact.answers == ("None",)
    return NONE_KEPT if none else KEPT[fact.kind]


def _signature_facts(definition: Definition, rng: random.Random) -> list[Fact | None]:
    function = _callable(definition)
    if function is None or not _signature_is_plain(function):
        return []
    bound = definition.node is not function or definition.is_method
    if "staticmethod" in _decorators(function):
        bound = False
    return [
        _default_fact(definition.path, function, rng),
        _parameters_fact(definition.path, function, bound),
    ]


def _callable(definition: Definition) -> Function | None:
    node = definition.node
    if not isinstance(node, ast.ClassDef):
        return node
    methods = {child.name: child for child in node.body if isinstance(child, Function)}
    plain = "__new__" not in methods and not node.keywords and not node.decorator_list
    return methods.get("__init__") if plain else None


def _signature_is_plain(function: Function) -> bool:
    return SIGNATURE_KEPT.issuperset(_decorators(function))


def _decorators(function: Function) -> list[str]:
    called = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return [ast.unparse(decorator).rsplit(".", 1)[-1] for decorator in called]


def _default_fact(path: str, function: Function, rng: random.Random) -> Fact | None:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(reversed(positional), reversed(arguments.defaults), strict=False))
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    pairs += [(argument, default) for argument, default in keywords if default]
    known = [(a.arg, _literal(d)) for a, d in pairs if is_public(a.arg)]
    choices = [(name, value) for name, value in known if value is not None]
    if not choices:
        return None
    name, value = rng.choice([c for c in choices if c[1] != "None"] or choices)
    return Fact("default", path, (value,), name)


def _literal(node: ast.expr) -> str | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    text = repr(value)
    sortable = not isinstance(value, set)  # a set's repr changes from process to process
    plain = "\n" not in text and "\\n" not in text
    return text if sortable and plain and len(text) <= LONGEST_ANSWER else None


def _parameters_fact(path: str, function: Function, bound: bool) -> Fact | None:
    arguments = function.args
    if arguments.vararg or arguments.kwarg:
        return None
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)][1 if bound else 0 :]
    names += [a.arg for a in arguments.kwonlyargs]
    short = 1 <= len(names) <= MAX_PARAMETERS
    return Fact("parameters", path, tuple(names)) if short and all(map(is_public, names)) else None


def _returns_fact(definition: Definition) -> Fact | None:
    node = definition.node
    if not isinstance(node, Function) or not node.returns or not _signature_is_plain(node):
        return None
    text = ast.unparse(node.returns).strip("'\"")
    telling = text != "None" and not re.search(r"\b_|[\"']", text)
    return Fact("returns", definition.path, (text,)) if telling and _fits(text) else None


def _base_fact(definition: Definition) -> Fact | None:
    node = definition.node
    if not isinstance(node, ast.ClassDef) or len(node.bases) != 1:
        return None
    text = ast.unparse(node.bases[0])
    named = bool(re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", text))
    told = text.rsplit(".", 1)[-1] not in NO_REAL_BASE and text not in definition.renamed
    return Fact("base", definition.path, (text,)) if named and told and _fits(text) else None


def _fits(text: str) -> bool:
    return len(text) <= LONGEST_ANSWER
