"""The data: where rows come from, and how they become samples."""

import string
from datetime import date
from typing import Literal

from pydantic import Field, field_validator

from gradgate.config.section import Fraction, Section

Preference = Literal["chosen", "rejected", "both"]

# For chat templates that print today's date: always the same one, so that no score changes by it.
DEFAULT_TEMPLATE_DATE = "2025-01-01"

DEFAULT_TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer: "


class Columns(Section):
    """Explicit column names; set those of one row format and leave the others out."""

    prompt: str | None = Field(None, description="Column with the prompt (string or messages).")
    completion: str | None = Field(
        None, description="Column with the completion (string or messages)."
    )
    messages: str | None = Field(
        None, description="Column with a list of chat messages, in OpenAI's or ShareGPT's spelling."
    )
    text: str | None = Field(None, description="Column with plain text, all of it the target.")
    instruction: str | None = Field(None, description="Alpaca: column with the instruction.")
    input: str | None = Field(
        None, description="Alpaca and preference pairs: column with the optional input."
    )
    output: str | None = Field(None, description="Alpaca: column with the output.")
    question: str | None = Field(None, description="Column with the question.")
    answers: str | None = Field(None, description="Column with the answer or list of answers.")
    context: str | None = Field(None, description="Column with the context of the question.")
    chosen: str | None = Field(None, description="Preference pairs: column with the better answer.")
    rejected: str | None = Field(
        None, description="Preference pairs: column with the worse answer."
    )
    label: str | None = Field(
        None, description="KTO: column that says whether the completion is wanted."
    )
    segments: str | None = Field(
        None, description="Column with axolotl's segments, each a text and a label."
    )
    system: str | None = Field(None, description="Column with the system prompt of a chat.")
    history: str | None = Field(None, description="Column with the earlier rounds of a chat.")


class Limits(Section):
    """What a source may ask of the machine; beyond it the source is an error."""

    row_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Largest line, cell or row, in MiB; as much white space between two rows.",
    )
    expansion: int = Field(
        200,
        ge=1,
        description="A compressed file or table may grow to so many times its size, or to 256 MiB.",
    )
    columns: int = Field(1000, ge=1, description="Most columns of a table, or keys of a row.")


class DataConfig(Section):
    """Where the rows come from and how they become samples."""

    source: str = Field(
        min_length=1,
        description="Hub id, JSONL/JSON/CSV/TSV/Parquet/Arrow file or folder (local path or "
        "fsspec URL), or a save_to_disk folder.",
    )
    name: str | None = Field(
        None, description="Configuration name, of the hub or of a folder's README.md."
    )
    split: str | None = Field(
        None,
        description="Split of a hub dataset, of a folder laid out like one, or of a save_to_disk "
        "folder; needed if it has several. all: every file of a folder.",
    )
    revision: str | None = Field(None, description="Hub: branch, tag or commit.")
    delimiter: str | None = Field(
        None,
        description="CSV: what stands between two cells, one character or tab; found in the first "
        "line when absent.",
    )
    expected_rows: int | None = Field(
        None,
        ge=1,
        description="Rows that the source must have, rejected ones too; in place of the number "
        "that its metadata says.",
    )
    limits: Limits = Limits()
    columns: Columns | None = Field(
        None, description="Explicit column names; the row format is detected when absent."
    )
    ignore_columns: list[str] = Field(
        [],
        description="Columns, and fields of messages, that training does not read though their "
        "names say that it might.",
    )
    preference: Preference = Field(
        "chosen",
        description="Which answers of preference pairs, or completions of KTO by their label, are "
        "the targets. both: of KTO alone.",
    )
    template: str = Field(
        DEFAULT_TEMPLATE,
        description="Prompt of question/answers rows; may use {question} and {context}.",
    )
    template_date: str = Field(
        DEFAULT_TEMPLATE_DATE,
        description="Today, YYYY-MM-DD, for a chat template that prints the date; fixed, so that "
        "no sample changes overnight.",
    )
    max_tokens: int = Field(
        8192, ge=2, description="Longer samples (prompt + target, in tokens) are rejected."
    )
    max_rejected_fraction: Fraction = Field(
        0.01, description="The raw-data check fails when a larger part of the rows is rejected."
    )
    min_rows: int = Field(1, ge=1, description="The raw-data check fails below this many samples.")

    @field_validator("template_date")
    @classmethod
    def _is_a_date(cls, written: str) -> str:
        try:
            date.fromisoformat(written)
        except ValueError as error:
            raise ValueError(f"data.template_date {written!r} is no date YYYY-MM-DD") from error
        return written

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        delimiter = "\t" if delimiter in ("tab", "\\t") else delimiter
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
            raise ValueError("data.delimiter is one character, no quote and no line end, or tab")
        return delimiter

    @field_validator("template")
    @classmethod
    def _only_question_and_context(cls, template: str) -> str:
        # Malformed braces raise ValueError here. A field is a bare name, so that no attribute of
        # a value can be reached from a template.
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
        if any(part[1:] not in {("question", "", None), ("context", "", None)} for part in parts):
            raise ValueError("data.template may use {question} and {context} and no other field")
        if not any(part[1] == "question" for part in parts):
            raise ValueError("data.template must contain {question}")
        return template
