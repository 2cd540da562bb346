"""A row taken apart into lead, question and completion, and put together again."""

from collections.abc import Mapping

from gradgate.attacks.chat_parts import (
    chat_parts,
    last_message,
    messages_of,
    write_chat_completion,
    write_chat_prompt,
)
from gradgate.attacks.column_parts import (
    alpaca_names,
    column_parts,
    joined_answers,
    text_of,
    write_answers,
    write_columns,
)
from gradgate.attacks.components import Parts, Target, with_target
from gradgate.attacks.layout import cut, layout
from gradgate.config import DEFAULT_TEMPLATE
from gradgate.data.formats.mapping import RowMapping, to_sample
from gradgate.data.sample import RejectedRowError

__all__ = ["Parts", "Target", "read_parts", "write_parts"]


def read_parts(row: Mapping[str, object], mapping: RowMapping) -> Parts | None:
    """Take a row apart.

    - prompt/completion strings: the question follows the last heading such as `### Question:`
      or `Question:` and ends before an empty `### Answer:` at the end; the text before its heading
      is the lead. Without headings all of the prompt is the question.
    - messages: the last user message before the last assistant turn is the question, the system
      message is the lead.
    - Alpaca: with an input, the input is the question and the instruction the lead; without, the
      instruction is the question.
    - question/answers: the context is the lead.
    - text: the prompt ends with the last `### Answer:` or the like; without one, at the white
      space nearest to the middle.

    - preference pairs and segments, and messages as JSON text, carry no attack.

    Returns:
        None for a row that cannot be scored or has no question.
    """
    try:
        to_sample(row, 0, mapping, DEFAULT_TEMPLATE)
    except RejectedRowError:
        return None
    found = _parts(row, mapping)
    if found is None or not found.question.strip():
        return None
    return Parts(found.lead.strip(), found.question.strip(), found.completion)


def write_parts(
    row: Mapping[str, object], mapping: RowMapping, parts: Parts, target: Target | None
) -> dict[str, object]:
    """Put other parts into a row that `read_parts` could read; its format and the rest stay.

    Args:
        row: Never changed.
        mapping: Its columns.
        parts: New lead and question; the completion is not looked at. A lead where there was none
            is not written.
        target: For the completion; None leaves it as it is.
    """
    columns = mapping.columns
    match mapping.row_format:
        case "prompt_completion" | "kto" if isinstance(row[columns["prompt"]], str):
            prompt_text = text_of(row, columns["prompt"])
            return dict(row) | {
                columns["prompt"]: layout(prompt_text).with_parts(parts.lead, parts.question),
                columns["completion"]: with_target(text_of(row, columns["completion"]), target),
            }
        case "prompt_completion" | "kto":
            prompt = messages_of(row, columns["prompt"])
            completion = messages_of(row, columns["completion"])
            return dict(row) | {
                columns["prompt"]: write_chat_prompt(prompt, len(prompt), parts),
                columns["completion"]: write_chat_completion(completion, target),
            }
        case "messages" | "kto_messages":
            turns = messages_of(row, columns["messages"])
            written = write_chat_prompt(turns, last_message(turns, "assistant", len(turns)), parts)
            return dict(row) | {columns["messages"]: write_chat_completion(written, target)}
        case "alpaca":
            names = alpaca_names(row, columns)
            return write_columns(row, names, parts) | {
                columns["output"]: with_target(text_of(row, columns["output"]), target)
            }
        case "question_answers":
            names = (columns.get("context"), columns["question"])
            return write_columns(row, names, parts) | {
                columns["answers"]: write_answers(row[columns["answers"]], target)
            }
        case "text":
            prompt_text, completion_text = cut(text_of(row, columns["text"])) or ("", "")
            text = layout(prompt_text).with_parts(parts.lead, parts.question) + with_target(
                completion_text, target
            )
            return dict(row) | {columns["text"]: text}
        case "preference" | "segments":
            raise ValueError(f"rows of the format {mapping.row_format} carry no attack")
        case "tokens":
            raise AssertionError("read_parts has read no row of tokens")


def _parts(row: Mapping[str, object], mapping: RowMapping) -> Parts | None:
    columns = mapping.columns
    match mapping.row_format:
        case "tokens":
            return None
        case "prompt_completion" | "kto" if isinstance(row[columns["prompt"]], str):
            found = layout(text_of(row, columns["prompt"]))
            return Parts(found.lead, found.question, text_of(row, columns["completion"]))
        case "prompt_completion" | "kto":
            prompt = messages_of(row, columns["prompt"])
            return chat_parts(prompt, len(prompt), messages_of(row, columns["completion"]))
        case "messages" | "kto_messages" if isinstance(row[columns["messages"]], str):
            return None
        case "messages" | "kto_messages":
            turns = messages_of(row, columns["messages"])
            return chat_parts(turns, last_message(turns, "assistant", len(turns)), turns)
        case "alpaca":
            return column_parts(row, alpaca_names(row, columns), text_of(row, columns["output"]))
        case "question_answers":
            names = (columns.get("context"), columns["question"])
            return column_parts(row, names, joined_answers(row[columns["answers"]]))
        case "text":
            halves = cut(text_of(row, columns["text"]))
            if halves is None:
                return None
            found = layout(halves[0])
            return Parts(found.lead, found.question, halves[1])
        case "preference" | "segments":
            return None
