"""Rows become samples: the row formats, the sample ids, and the reasons to reject a row."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gradgate.config import Columns
from gradgate.errors import DataError

RowFormat = Literal["prompt_completion", "messages", "alpaca", "question_answers", "text"]
Row = Mapping[str, object]

ROLES = ("system", "developer", "user", "assistant")

# The wording of the published Alpaca data set (Taori et al. 2023), up to where the output starts.
_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)

_JSON_TYPES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class RejectedRowError(Exception):
    """This row, or its sample, cannot be scored; the text is the reason and quotes no data.

    No GradgateError: it never leaves the data layer, where the row is written down as rejected.
    """


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of a sample: a chat message, or a prompt, completion or text."""

    role: str
    text: str
    is_target: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """What is scored and trained on.

    Attributes:
        row: Row number in the source.
        sample_id: Hash of the content: the same for the same turns from any source, at any row.
        chat: Whether a chat template renders the turns; their texts are joined otherwise.
        turns: At least one is a target.
    """

    row: int
    sample_id: str
    chat: bool
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Which columns are read.

    Attributes:
        row_format: What the row means.
        columns: From the format's field to the name of its column.
    """

    row_format: RowFormat
    columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Fields:
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


# In the order of precedence: tatsu-lab/alpaca has a `text` column beside instruction and output.
_FORMATS: dict[RowFormat, _Fields] = {
    "prompt_completion": _Fields(("prompt", "completion")),
    "messages": _Fields(("messages",)),
    "alpaca": _Fields(("instruction", "output"), ("input",)),
    "question_answers": _Fields(("question", "answers"), ("context",)),
    "text": _Fields(("text",)),
}


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
    for row_format, fields in _FORMATS.items():
        mapping = {field: field for field in fields.required + fields.optional}
        if row_format == "question_answers" and "answer" in names:
            mapping["answers"] = "answer"
        if all(mapping[field] in names for field in fields.required):
            if "answers" in mapping and {"answer", "answers"} <= set(names):
                raise DataError(f"{_found(names)}: set data.columns to use answer or answers")
            return RowMapping(row_format, mapping)
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
    for row_format, fields in _FORMATS.items():
        if set(fields.required) <= set(mapping) <= set(fields.required + fields.optional):
            missing = [name for name in mapping.values() if name not in names]
            if missing:
                raise DataError(
                    f"data.columns names {', '.join(missing)}, not in the data. {_found(names)}"
                )
            return RowMapping(row_format, mapping)
    given = ", ".join(mapping) or "nothing"
    raise DataError(
        f"data.columns sets {given}, which is no row format; set all fields of exactly one "
        f"({_wanted()}). {_found(names)}"
    )


def _found(names: list[str]) -> str:
    return f"The columns found are {', '.join(names) or 'none'}"


def _wanted() -> str:
    return "; ".join(" + ".join(fields.required) for fields in _FORMATS.values())


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
    required = _FORMATS[mapping.row_format].required
    missing = [mapping.columns[field] for field in required if field not in fields]
    if missing:
        raise RejectedRowError(f"missing column: {', '.join(missing)}")
    chat = mapping.row_format == "messages" or isinstance(fields.get("prompt"), list)
    turns = _turns(fields, mapping.row_format, template, chat=chat)
    _check(turns)
    return Sample(row, sample_id(chat, turns), chat, turns)


def sample_id(chat: bool, turns: Iterable[Turn]) -> str:
    """Hash the content of a sample: SHA-256 of its canonical JSON, in hex."""
    content = [chat, [[turn.role, turn.text, turn.is_target] for turn in turns]]
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def fingerprint(sample_ids: Iterable[str]) -> str:
    """Hash a data set: SHA-256 over the sample ids in row order, in hex."""
    digest = hashlib.sha256()
    for identifier in sample_ids:
        digest.update(identifier.encode("ascii"))
    return digest.hexdigest()


def _check(turns: tuple[Turn, ...]) -> None:
    """Refuse what no tokenizer or loss can use; white space counts as empty but is kept."""
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


def _turns(
    fields: dict[str, object], row_format: RowFormat, template: str, chat: bool
) -> tuple[Turn, ...]:
    match row_format:
        case "prompt_completion" if chat:
            prompt = _messages(fields, "prompt", are_targets=False)
            return prompt + _messages(fields, "completion", are_targets=True)
        case "prompt_completion":
            return _plain(_text(fields, "prompt"), _text(fields, "completion"))
        case "messages":
            return _messages(fields, "messages", are_targets=True)
        case "alpaca":
            return _plain(_alpaca_prompt(fields), _text(fields, "output"))
        case "question_answers":
            return _plain(_question_prompt(fields, template), _answers(fields["answers"]))
        case "text":
            return (Turn("text", _text(fields, "text"), is_target=True),)


def _plain(prompt: str, completion: str) -> tuple[Turn, ...]:
    return Turn("prompt", prompt, is_target=False), Turn("completion", completion, is_target=True)


def _text(fields: dict[str, object], field: str) -> str:
    value = fields[field]
    if not isinstance(value, str):
        raise _wrong_type(field, value)
    return value


def _optional_text(fields: dict[str, object], field: str) -> str:
    return "" if fields.get(field) is None else _text(fields, field)


def _wrong_type(field: str, value: object) -> RejectedRowError:
    return RejectedRowError(f"wrong type: {field} is {_JSON_TYPES.get(type(value), 'no text')}")


def _alpaca_prompt(fields: dict[str, object]) -> str:
    instruction, given = _text(fields, "instruction"), _optional_text(fields, "input")
    if not instruction.strip():
        return ""
    wording = _ALPACA_INPUT if given.strip() else _ALPACA
    return wording.format(instruction=instruction, input=given)


def _question_prompt(fields: dict[str, object], template: str) -> str:
    question, context = _text(fields, "question"), _optional_text(fields, "context")
    if not question.strip():
        return ""
    prompt = template.format(question=question, context=context)
    return prompt if context else prompt.lstrip()


def _answers(value: object) -> str:
    """Join the answers; SQuAD has them in an object, beside where they start."""
    answers = value["text"] if isinstance(value, dict) and "text" in value else value
    if isinstance(answers, str):
        return answers
    if not isinstance(answers, list):
        raise _wrong_type("answers", value)
    texts = [_text({"an answer": answer}, "an answer") for answer in answers]
    return "; ".join(texts) if any(text.strip() for text in texts) else ""


# Chat messages


def _messages(fields: dict[str, object], field: str, are_targets: bool) -> tuple[Turn, ...]:
    value = fields[field]
    if not isinstance(value, list):
        raise _wrong_type(field, value)
    return tuple(_turn(message, are_targets) for message in value)


def _turn(message: object, is_target: bool) -> Turn:
    if not isinstance(message, dict):
        raise _wrong_type("a message", message)
    if message.get("tool_calls") or message.get("role") == "tool":
        raise RejectedRowError("tool calls unsupported")
    if "role" not in message or "content" not in message:
        raise RejectedRowError("message without role or content")
    role = message["role"]
    if role not in ROLES:
        raise RejectedRowError("unknown role")
    return Turn(role, _content(message["content"]), is_target and role == "assistant")


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    if content is None:
        raise RejectedRowError("tool calls unsupported")
    return _text({"content": content}, "content")


def _part(part: object) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise RejectedRowError("unsupported content part")
    return _text({"a content part": part.get("text")}, "a content part")
