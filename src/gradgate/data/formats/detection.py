"""From the names of the columns to the format of the rows, where exactly one fits.

There is no order of precedence: a column that is passed over may be the one that is trained on. A
format whose columns are a part of another's gives way to it (instruction + input + output holds
input + output). Every other column that by its name holds what is learnt is an error, until the
configuration names the columns, or those that training does not read.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import product

from gradgate.config import Columns
from gradgate.data.formats.alpaca import ALPACA
from gradgate.data.formats.exchange import OF_A_CHAT
from gradgate.data.formats.fields import Format, RowFormat, shown
from gradgate.data.formats.kto import KTO, KTO_MESSAGES
from gradgate.data.formats.messages import MESSAGES
from gradgate.data.formats.preference import PREFERENCE
from gradgate.data.formats.prompt_completion import PROMPT_COMPLETION
from gradgate.data.formats.question_answers import QUESTION_ANSWERS
from gradgate.data.formats.segments import SEGMENTS
from gradgate.data.formats.text import TEXT
from gradgate.data.tokenized import TOKENS
from gradgate.errors import DataError

FORMATS: dict[RowFormat, Format] = {
    form.name: form
    for form in (
        *(PROMPT_COMPLETION, MESSAGES, ALPACA, QUESTION_ANSWERS),
        *(PREFERENCE, KTO, KTO_MESSAGES, SEGMENTS, TEXT, TOKENS),
    )
}
# The fields that hold what is learnt. `text` beside a prompt and an answer may be both of them in
# one, as in tatsu-lab/alpaca: that is held against every row.
_LEARNT = ("completion", "messages", "output", "answers", "chosen", "rejected", "segments", "text")
LEARNT = frozenset(
    name for form in FORMATS.values() for field in _LEARNT for name in form.names_of(field)
)
WHOLE_ROW = "text"
_OF_A_WHOLE_ROW = (PROMPT_COMPLETION, ALPACA, QUESTION_ANSWERS)
_MAX_WAYS = 4  # to read the columns in a message
_MAX_NAMES = 30  # of columns in a message

Found = tuple[Format, dict[str, str]]


def found_format(present: Collection[str]) -> Found:
    """The one format that has all of its columns among those present, and its columns.

    An optional column is looked up in every row, so that a first row without it does not hide it
    in the others.

    Raises:
        DataError: No format fits, or several, or a column is left over that may be learnt.
    """
    if "input_ids" in present:  # trainers take tokens, and leave the text beside them
        return _tokens(present)
    candidates = [c for form in FORMATS.values() for c in _candidates(form, present)]
    found = [c for c in candidates if not _is_part_of_another(c, candidates, present)]
    if any(form is not TEXT for form, _ in found):
        found = [c for c in found if c[0] is not TEXT]  # a column that is left over, see below
    if not found:
        raise DataError(
            f"{_shown(present)}: no row format fits ({wanted()}); name the columns in data.columns "
            "(on the command line --data.columns.prompt NAME --data.columns.completion NAME)"
        )
    if len(found) > 1:
        raise DataError(f"{_shown(present)}: {_several(found, present)}")
    form, columns = found[0]
    left = LEARNT.intersection(present).difference(columns.values())
    if form in _OF_A_WHOLE_ROW:
        left -= {WHOLE_ROW}
    if left:
        names = ", ".join(sorted(left))
        raise DataError(
            f"{_shown(present)}: {_read(columns, present)} would be read and {names} passed over; "
            f"name the columns that are trained on in data.columns ({_option(columns, present)}), "
            f"or, where training does not read them, {_leave_out(sorted(left))}"
        )
    return form, columns


def _tokens(present: Collection[str]) -> Found:
    if "labels" not in present:
        raise DataError(
            "the rows have input_ids and no labels, so that it is not known what is learnt; add "
            "labels (-100 for a token without loss), or leave input_ids out by "
            "data.ignore_columns (--ignore-columns input_ids)"
        )
    return TOKENS, {name: name for name in TOKENS.required}


def explicit_format(columns: Columns, present: Collection[str]) -> Found:
    """Check that the named columns make up exactly one row format and are all present.

    Raises:
        DataError: They do not; the message says what is missing.
    """
    mapping = {field: name for field, name in columns.model_dump().items() if name is not None}
    for form in FORMATS.values():
        if set(form.required) <= set(mapping) <= set(form.required + form.optional):
            missing = [name for name in mapping.values() if name not in present]
            if missing:
                raise DataError(
                    f"data.columns names {', '.join(missing)}, not in the data. {_shown(present)}"
                )
            return form, mapping
    given = ", ".join(mapping) or "nothing"
    raise DataError(
        f"data.columns sets {given}, which is no row format; set all fields of exactly one "
        f"({wanted()}). {_shown(present)}"
    )


def wanted() -> str:
    """The required fields of every format."""
    return "; ".join(" + ".join(form.required) for form in FORMATS.values())


def _candidates(form: Format, present: Collection[str]) -> Iterator[Found]:
    """Every way to find the fields of a format among the columns present.

    A system prompt or earlier rounds that are not there are looked for in every row as well, see
    `mapping.to_sample`; of the other optional fields their own name is taken.
    """
    everywhere = [field for field in form.optional if field not in OF_A_CHAT]
    fields = [
        field
        for field in form.required + form.optional
        if field in (*form.required, *everywhere) or set(form.names_of(field)) & set(present)
    ]
    usual = [[n for n in form.names_of(field) if n in present] for field in fields]
    if all(usual[: len(form.required)]):
        names = [
            there or form.names_of(field)[:1] for there, field in zip(usual, fields, strict=True)
        ]
        for chosen in product(*names):
            if len(set(chosen)) == len(chosen):
                yield form, dict(zip(fields, chosen, strict=True))


def _is_part_of_another(
    candidate: Found, candidates: Iterable[Found], present: Collection[str]
) -> bool:
    own = set(candidate[1].values()).intersection(present)
    return any(own < set(columns.values()).intersection(present) for _, columns in candidates)


def _several(found: list[Found], present: Collection[str]) -> str:
    """What to do where several formats fit, or several columns are one field."""
    ways = [_read(columns, present) for _, columns in found]
    options = " or ".join(_option(columns, present) for _, columns in found[:_MAX_WAYS])
    names = {n for _, columns in found for n in columns.values() if n in present}
    twice = sorted(n for n in names if not all(n in columns.values() for _, columns in found))
    is_one = len({form.name for form, _ in found}) == 1
    what = f"to use {' or '.join(twice)}" if is_one else f"to choose {' or '.join(ways)}"
    return (
        f"several row formats or columns fit; set data.columns {what} ({options}), or, where "
        f"training does not read one of them, {_leave_out(twice)}"
    )


def _read(columns: dict[str, str], present: Collection[str]) -> str:
    return " + ".join(shown(name) for name in columns.values() if name in present)


def _leave_out(names: list[str]) -> str:
    return f"leave it out by data.ignore_columns (--ignore-columns {shown(names[0])})"


def _option(columns: dict[str, str], present: Collection[str]) -> str:
    """How the command line names the columns of a format."""
    there = [(field, name) for field, name in columns.items() if name in present]
    return " ".join(f"--data.columns.{field} {shown(name)}" for field, name in there)


def _shown(present: Collection[str]) -> str:
    names = [shown(name) for name in present]
    more = [f"and {len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
    return f"The columns found are {', '.join([*names[:_MAX_NAMES], *more]) or 'none'}"
