"""Options from the fields of a configuration: every field is one, and nothing is said twice.

An option keeps its text until the file and the options are put together; what then decides
whether a value is right is the configuration itself, as it does for a file.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from gradgate.config import Section, check_config, parse_yaml, read_config, section_in
from gradgate.errors import ConfigError

# Short names, for what is typed often.
ALIASES = {
    "data.source": "--source",
    "data.name": "--name",
    "data.split": "--split",
    "data.revision": "--revision",
    "data.ignore_columns": "--ignore-columns",
    "data.preference": "--preference",
    "data.max_tokens": "--max-tokens",
    "model.path": "--model",
    "model.revision": "--model-revision",
    "model.adapter": "--adapter",
    "model.device": "--device",
    "model.dtype": "--dtype",
    "scoring.mode": "--mode",
    "scoring.k": "--k",
    "scoring.batch_tokens": "--batch-tokens",
    "scoring.store": "--store",
    "detection.methods": "--methods",
    "detection.reference": "--reference",
    "compare.labels": "--labels",
    "draw.rows": "--rows",
    "draw.seed": "--seed",
    "poison.attack": "--attack",
    "poison.rate": "--rate",
    "poison.seed": "--seed",
    "poison.target": "--target",
    "poison.paraphraser": "--paraphraser",
}
# Names of earlier versions, which mean the same.
FORMER = {"detection.methods": ("--method", "--detection.method")}
FILE = "config"
# What a newcomer needs: shown by --help, where all others are for --help-all.
FIRST = (
    "data.source",
    "data.split",
    "model.path",
    "model.device",
    "detection.methods",
    "detection.reference",
    "policy.max_poison_fraction",
    "policy.review_above",
    "policy.expected",
    "compare.labels",
    "draw.rows",
    "poison.attack",
    "poison.rate",
    "attestation.key",
    "finetune.epochs",
)
HELP_ALL = "--help-all"
_FIRST = Group(
    "Most used",
    help=f"`{HELP_ALL}` shows every option, and so every field of the configuration.",
    sort_key=0,
)
_is_all_shown: ContextVar[bool] = ContextVar("_is_all_shown", default=False)

Command = Callable[..., int]


class _Section(Group):
    """Options of a section of the configuration, of which the short help says nothing."""

    @property
    def show(self) -> bool:
        """Whether the help is the long one."""
        return _is_all_shown.get()


@contextmanager
def help_asked(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The arguments with `--help` in the place of `--help-all`, which shows all options."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    is_all = HELP_ALL in arguments[:end]
    token = _is_all_shown.set(is_all)
    try:
        yield ["--help" if is_all and word == HELP_ALL else word for word in arguments]
    finally:
        _is_all_shown.reset(token)


def configured(
    model: type[Section],
    positional: str,
    defaults: Mapping[str, object] | None = None,
    beside: type[Section] | None = None,
    aliases: Mapping[str, str] | None = None,
    instead: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda values: None,
) -> Callable[[Command], Command]:
    """Give a command `--config`, and an option for every field of its configuration.

    Args:
        model: The configuration, which the command takes first. An option goes before the file,
            and the file before the defaults.
        positional: What may be said without the name of an option: the dotted name of a field, or
            `config`; or what must be said so: a parameter of the command itself.
        defaults: By dotted name, where they differ from the configuration's own.
        beside: A configuration whose file serves too: sections of it alone are left aside.
        aliases: Short names by dotted name, where the command has others than the rest.
        instead: The content of a file where none is given, by the command's own parameters.
    """
    own = dict(defaults or {})
    short = ALIASES | dict(aliases or {})
    fields = {".".join(path): info for path, info, _ in _fields(model)}
    typed = short | {positional: f"{short.get(positional, positional)}, or the first argument,"}

    def decorate(command: Command) -> Command:
        signature = _signature(command, model, positional, own, short)

        def run(*args: object, **kwargs: object) -> int:
            values = signature.bind(*args, **kwargs).arguments
            file = values.pop(FILE, None)
            _keep_file(file, values)
            given = {path: values.pop(_identifier(path), None) for path in fields}
            texts = {path: text for path, text in given.items() if text is not None}
            options = {path: _value(path, text, fields[path]) for path, text in texts.items()}
            content = instead(values) if file is None else None
            return command(settings(model, file, options, own, beside, content, typed), **values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def _keep_file(file: Path | None, others: Mapping[str, Any]) -> None:
    """Refuse to write over the configuration itself."""
    for name, value in others.items():
        if file is not None and isinstance(value, Path) and value.resolve() == file.resolve():
            raise ConfigError(f"--{name} {value} would be written over the configuration")


def settings(
    model: type[Section],
    file: Path | None,
    options: Mapping[str, object],
    defaults: Mapping[str, object],
    beside: type[Section] | None = None,
    content: Mapping[str, Any] | None = None,
    typed: Mapping[str, str] | None = None,
) -> Section:
    """Put file and options together; sections that only `beside` has are left out of the file.

    Without a file, `content` stands for what it says. `typed` says how a missing field is said.

    Raises:
        ConfigError: The file cannot be read, or a field is missing, unknown or out of bounds.
    """
    content = (content or {}) if file is None else read_config(file)
    try:
        content = (beside or model).with_todays_keys(content)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
    aside = set(beside.model_fields) - set(model.model_fields) if beside else set()
    content = {name: value for name, value in content.items() if name not in aside}
    for path, value in options.items():
        content = _put(content, path, value)
    for path, value in defaults.items():
        content = _put(content, path, value, over=False)
    return check_config(content, model, None if file is None else str(file), options, typed)


def _put(
    content: Mapping[str, Any], path: str, value: object, over: bool = True
) -> Mapping[str, Any]:
    """A copy with another value; `over`: also where there is one."""
    name, _, rest = path.partition(".")
    inner = content.get(name)
    if rest:
        if not isinstance(inner, Mapping | None):
            raise ConfigError(f"{name} is no section but {inner!r}")
        value = _put(inner or {}, rest, value, over)
    elif name in content and not over:
        return content
    return {**content, name: value}


def _fields(
    model: type[Section], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo, type[Section]]]:
    """Every field that holds a value, by its path, and the section that it is in."""
    for name, info in model.model_fields.items():
        inner = section_in(info.annotation)
        if inner is None:
            yield (*path, name), info, model
    for name, info in model.model_fields.items():
        inner = section_in(info.annotation)
        if inner is not None:
            yield from _fields(inner, (*path, name))


def _signature(
    command: Command,
    model: type[Section],
    positional: str,
    defaults: Mapping[str, object],
    short: Mapping[str, str],
) -> inspect.Signature:
    """What the command takes on the command line: the fields instead of the configuration."""
    _, *own = inspect.signature(command).parameters.values()
    file = Parameter(help="YAML file with the same fields; options go before it.")
    parameters = {FILE: _optional(FILE, Path, file)}
    groups: dict[str, Group] = {}
    for path, info, section in _fields(model):
        name, title = ".".join(path), ".".join(path[:-1])
        about = " ".join((section.__doc__ or "").split())
        section_group = _Section(title, help=about, sort_key=1 + len(groups))
        group = _FIRST if name in FIRST else groups.setdefault(title, section_group)
        default = defaults.get(name, info.get_default(call_default_factory=True))
        is_shown = name in defaults or not (info.is_required() or default is None)
        names = _names(name, short.get(name))
        parameters[name] = _option(
            _identifier(name), names, info, group, _yaml(default) if is_shown else False
        )
    if positional in parameters:
        first = parameters.pop(positional).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
    else:
        found = next(parameter for parameter in own if parameter.name == positional)
        own.remove(found)
        first = found.replace(kind=inspect.Parameter.POSITIONAL_ONLY)
    return inspect.Signature([first, *own, *parameters.values()], return_annotation=int)


def _option(
    identifier: str, names: list[str], info: FieldInfo, group: Group, shown: str | Literal[False]
) -> inspect.Parameter:
    is_flag = info.annotation is bool
    parameter = Parameter(
        name=names,
        negative=f"--no-{names[0][2:]}" if is_flag else (),
        help=info.description,
        group=group,
        metavar=_metavar(info.annotation),
        choices=info.annotation if get_origin(info.annotation) is Literal else None,
        show_default=shown,
        allow_repeating=False,
        allow_leading_hyphen=not _takes_text(info.annotation),
    )
    return _optional(identifier, bool if is_flag else str, parameter)


def _optional(name: str, kind: type, parameter: Parameter) -> inspect.Parameter:
    annotation: Any = Annotated[kind | None, parameter]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _names(path: str, short: str | None) -> list[str]:
    """The names of an option: the short one first, unless the long one begins with it.

    cyclopts takes `--model.path` for a key of `--model` where it looks at that first.
    """
    names = [f"--{path}"]
    if short is not None:
        names.insert(1 if names[0].startswith(f"{short}.") else 0, short)
    return [*names, *FORMER.get(path, ())]


def _identifier(path: str) -> str:
    return path.replace(".", "__")


def _members(annotation: Any) -> Iterator[Any]:
    """The types that a field may have: the members of a union, without what is annotated."""
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def _metavar(annotation: Any) -> str | None:
    """What a reader has to put there; None for a flag or a choice, which say so themselves."""
    if annotation is bool or get_origin(annotation) is Literal:
        return None
    names = {int: "INT", float: "FLOAT", str: "TEXT"}
    return next((names[m] for m in _members(annotation) if m in names), "YAML")


def _takes_text(annotation: Any) -> bool:
    """Whether a text is the value as it stands, and not YAML for it."""
    texts = (str, type(None))
    return all(m in texts or get_origin(m) is Literal for m in _members(annotation))


def _value(path: str, text: str | bool, info: FieldInfo) -> object:
    """The value of an option; a text stays as it was typed, anything else is YAML.

    Where a list of texts is wanted, one text is a list of one.
    """
    if isinstance(text, bool) or _takes_text(info.annotation):
        return text
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--{path}: {text!r} is not YAML: {' '.join(str(error).split())}"
        ) from error
    if info.annotation == list[str] and isinstance(value, str):
        return [text]
    try:
        return float(text) if isinstance(value, str) else value  # 1e-5 is a string to YAML
    except ValueError:
        return value


def _yaml(value: object) -> str:
    """A default as it stands in a file, in one line."""
    if isinstance(value, str):
        return repr(value) if "\n" in value else value
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n...\n").strip()
