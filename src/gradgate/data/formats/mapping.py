"""Which columns of a row are read, and from a row to a sample."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from gradgate.config import DataConfig, Preference
from gradgate.data.formats.control import refuse_control
from gradgate.data.formats.detection import (
    FORMATS,
    LEARNT,
    WHOLE_ROW,
    explicit_format,
    found_format,
)
from gradgate.data.formats.fields import Format, Parts, Reading, RowFormat, compact_json, shown
from gradgate.data.formats.messages import says_something
from gradgate.data.formats.template_inputs import refuse_media, template_inputs
from gradgate.data.sample import RejectedRowError, Sample, Turn, sample_id
from gradgate.data.tokenized import READ_WITH_TOKENS, TOKENS
from gradgate.errors import DataError

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Which columns are read.

    Attributes:
        row_format: What the row means.
        columns: From the format's field to the name of its column.
        is_detected: Whether the columns were found by their names, and not named explicitly.
        ignored: See `DataConfig.ignore_columns`.
        preference: See `DataConfig.preference`.
        template_names: See `Reading.template_names`.
    """

    row_format: RowFormat
    columns: dict[str, str]
    is_detected: bool = False
    ignored: frozenset[str] = frozenset()
    preference: Preference = "chosen"
    template_names: frozenset[str] = frozenset()


def choose_mapping(
    first: Row, data: DataConfig, template_names: frozenset[str] = frozenset()
) -> RowMapping:
    """Choose the row format from the configuration, or else from the names of the columns.

    Args:
        first: The first readable row. A column that is null in it counts where none else fits.
        data: The explicit names, if any, and the columns that are ignored.
        template_names: See `Reading.template_names`.

    Raises:
        DataError: There is no format that fits, or several, or a named column is missing.
    """
    ignored = frozenset(data.ignore_columns)
    names = [name for name in first if name not in ignored]
    if data.columns is not None:
        form, columns = explicit_format(data.columns, names)
    else:
        form, columns = _detected([n for n in names if first[n] is not None], names)
    if form is TOKENS:
        refuse_control(names, READ_WITH_TOKENS, "the data")
    if form.name == "preference" and data.preference == "both":
        raise DataError(
            "a preference pair is one sample, so that data.preference cannot be both; score the "
            "chosen answers in one run and the rejected ones in another (--preference rejected)"
        )
    is_detected = data.columns is None
    return RowMapping(form.name, columns, is_detected, ignored, data.preference, template_names)


def detect_format(present: Iterable[str]) -> RowMapping:
    """The mapping of rows with these columns, all defaults.

    Raises:
        DataError: No format fits, or several.
    """
    form, columns = found_format(list(present))
    return RowMapping(form.name, columns, is_detected=True)


def _detected(filled: list[str], names: list[str]) -> tuple[Format, dict[str, str]]:
    """Tables fill up with null what other rows have; yet the first row's target may be null."""
    try:
        return found_format(filled)
    except DataError:
        return found_format(names)


def to_sample(value: Row, row: int, mapping: RowMapping, template: str) -> Sample:
    """Read one row.

    Args:
        value: The row; columns that the mapping does not name are ignored, unless training may
            read them.
        row: Its number.
        mapping: The columns to read.
        template: Prompt of question/answers rows, see `DataConfig.template`.

    Raises:
        RejectedRowError: The row is no usable sample.
        DataError: A column changes what is trained, and is not understood.
    """
    form = FORMATS[mapping.row_format]
    columns = _columns_of(value, mapping, form)
    there = [name for name, content in value.items() if content is not None]
    known = {*columns.values(), *mapping.ignored}
    refuse_control(there, known, f"row {row}")
    refuse_media(value, known)
    missing = [columns[field] for field in form.required if columns[field] not in value]
    if missing:
        raise RejectedRowError(f"missing column: {', '.join(map(shown, missing))}")
    inputs = template_inputs(value, known)
    fields = {name: value[col] for name, col in columns.items() if col in value}
    reading = Reading(template, mapping.preference, mapping.ignored, mapping.template_names)
    chat, turns = form.read({**fields, **inputs}, reading)
    _check(chat, turns)
    if mapping.is_detected:
        _check_left_over(value, there, known, (chat, turns), form)
    given = (
        compact_json(inputs, "tools, documents or chat_template_kwargs") if chat and inputs else ""
    )
    return Sample(row, sample_id(chat, turns, given), chat, turns, given)


def _columns_of(value: Row, mapping: RowMapping, form: Format) -> dict[str, str]:
    """The mapping's columns, and optional ones that the first row did not have."""
    if not mapping.is_detected:
        return mapping.columns
    more = {
        field: name
        for field, name in _optional_names(form.name)
        if name in value and field not in mapping.columns and name not in mapping.ignored
    }
    return {**more, **mapping.columns} if more else mapping.columns


@cache
def _optional_names(row_format: RowFormat) -> tuple[tuple[str, str], ...]:
    """Every usual name of a format's optional fields, with its field."""
    form = FORMATS[row_format]
    return tuple((field, name) for field in form.optional for name in form.names_of(field))


def _check(chat: bool, turns: tuple[Turn, ...]) -> None:
    """Refuse turns that no tokenizer or loss can use; white space counts as empty but is kept."""
    targets = [position for position, turn in enumerate(turns) if turn.is_target]
    if not targets:
        is_masked = any(turn.role == "assistant" for turn in turns)
        raise RejectedRowError("no target" if is_masked or not chat else "no assistant turn")
    says = [says_something(turns[position]) for position in targets]
    if not (all(says) if chat else any(says)):
        raise RejectedRowError("empty target")
    if turns[0].role != "text" and not any(says_something(turn) for turn in turns[: targets[0]]):
        raise RejectedRowError("empty prompt")
    for turn in turns:
        try:
            turn.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RejectedRowError("invalid Unicode") from error


def _is_nothing(value: object) -> bool:
    return isinstance(value, str | list) and not value


def _check_left_over(
    value: Row, there: list[str], known: Collection[str], parts: Parts, form: Format
) -> None:
    """Refuse a row with more to learn, or more of its format, than the first row's columns hold."""
    optional = {name for field in form.optional for name in form.names_of(field)}
    for name in there:
        if name in known or name not in LEARNT | optional or _is_nothing(value[name]):
            continue
        whole = value[name] if name == WHOLE_ROW else None
        if isinstance(whole, str) and whole == "".join(turn.text for turn in parts[1]):
            continue
        raise RejectedRowError(
            f"column {name} is not read and may be trained on; name it in data.columns, or in "
            f"data.ignore_columns (--ignore-columns {name})"
        )
