"""From the columns of a row to the format that it has, and from a row to a sample."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gradgate.config import Columns
from gradgate.data.formats.alpaca import ALPACA
from gradgate.data.formats.fields import RowFormat
from gradgate.data.formats.messages import MESSAGES
from gradgate.data.formats.prompt_completion import PROMPT_COMPLETION
from gradgate.data.formats.question_answers import QUESTION_ANSWERS
from gradgate.data.formats.text import TEXT
from gradgate.data.sample import RejectedRowError, Sample, Turn, sample_id
from gradgate.data.tokenized import TOKENS
from gradgate.errors import DataError

Row = Mapping[str, object]

# In the order of precedence: trainers read tokens and leave the text beside them, and
# tatsu-lab/alpaca has a `text` column beside instruction and output.
FORMATS = (TOKENS, PROMPT_COMPLETION, MESSAGES, ALPACA, QUESTION_ANSWERS, TEXT)


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Which columns are read.

    Attributes:
        row_format: What the row means.
        columns: From the format's field to the name of its column.
    """

    row_format: RowFormat
    columns: dict[str, str]


def choose_mapping(present: Iterable[str], columns: Columns | None) -> RowMapping:
    """Choose the row format from the configuration, or else from the names of the columns.

    Args:
        present: The names in the first readable row.
        columns: The explicit names, if any.

    Raises:
        DataError: There is no format that fits, or several, or a named column is missing.
    """
    names = list(present)
    return detect_format(names) if columns is None else explicit_mapping(columns, names)


def detect_format(present: Iterable[str]) -> RowMapping:
    """Choose the first format in the order of precedence whose required columns are all present.

    An optional column (`input`, `context`) is looked up in every row, so that a first row
    without it does not hide it in the others.

    Raises:
        DataError: No format fits, or both `answer` and `answers` are there.
    """
    names = list(present)
    if "input_ids" in names and "labels" not in names:
        raise DataError(
            "the rows have input_ids and no labels, so that it is not known what is learnt; add "
            "labels (-100 for a token without loss), or take input_ids out"
        )
    for form in FORMATS:
        mapping = {field: field for field in form.required + form.optional}
        if form is QUESTION_ANSWERS and "answer" in names:
            mapping["answers"] = "answer"
        if all(mapping[field] in names for field in form.required):
            if "answers" in mapping and {"answer", "answers"} <= set(names):
                raise DataError(f"{_found(names)}: set data.columns to use answer or answers")
            return RowMapping(form.name, mapping)
    raise DataError(
        f"{_found(names)}: no row format fits ({_wanted()}); name the columns in data.columns"
    )


def explicit_mapping(columns: Columns, present: Iterable[str]) -> RowMapping:
    """Check that the named columns make up exactly one row format and are all present.

    Raises:
        DataError: They do not; the message says what is missing.
    """
    names = list(present)
    mapping = {field: name for field, name in columns.model_dump().items() if name is not None}
    for form in FORMATS:
        if set(form.required) <= set(mapping) <= set(form.required + form.optional):
            missing = [name for name in mapping.values() if name not in names]
            if missing:
                raise DataError(
                    f"data.columns names {', '.join(missing)}, not in the data. {_found(names)}"
                )
            return RowMapping(form.name, mapping)
    given = ", ".join(mapping) or "nothing"
    raise DataError(
        f"data.columns sets {given}, which is no row format; set all fields of exactly one "
        f"({_wanted()}). {_found(names)}"
    )


def _found(names: list[str]) -> str:
    return f"The columns found are {', '.join(names) or 'none'}"


def _wanted() -> str:
    return "; ".join(" + ".join(form.required) for form in FORMATS)


def to_sample(value: Row, row: int, mapping: RowMapping, template: str) -> Sample:
    """Read one row.

    Args:
        value: The row; columns that the mapping does not name are ignored.
        row: Its number.
        mapping: The columns to read.
        template: Prompt of question/answers rows, see `DataConfig.template`.

    Raises:
        RejectedRowError: The row is no usable sample.
    """
    fields = {name: value[col] for name, col in mapping.columns.items() if col in value}
    form = next(form for form in FORMATS if form.name == mapping.row_format)
    missing = [mapping.columns[field] for field in form.required if field not in fields]
    if missing:
        raise RejectedRowError(f"missing column: {', '.join(missing)}")
    chat, turns = form.read(fields, template)
    _check(turns)
    return Sample(row, sample_id(chat, turns), chat, turns)


def _check(turns: tuple[Turn, ...]) -> None:
    """Refuse turns that no tokenizer or loss can use; white space counts as empty but is kept."""
    targets = [position for position, turn in enumerate(turns) if turn.is_target]
    if not targets:
        raise RejectedRowError("no assistant turn")
    if any(not turns[position].text.strip() for position in targets):
        raise RejectedRowError("empty target")
    if turns[0].role != "text" and not any(turn.text.strip() for turn in turns[: targets[0]]):
        raise RejectedRowError("empty prompt")
    for turn in turns:
        try:
            turn.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RejectedRowError("invalid Unicode") from error
