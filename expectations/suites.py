"""The suites, built in code each time: a saved one, reloaded, silently loses custom expectations.

Every expectation has a description in plain words, which is what Data Docs and failures show.
"""

from collections.abc import Sequence

import great_expectations.expectations as gxe
from great_expectations import ExpectationSuite
from great_expectations.expectations.expectation import Expectation

from expectations.fraction_limits import FRACTION_LIMITS, ExpectRejectedFractionToBeAtMost
from gradgate.gate.policy import Limits
from gradgate.methods.contract import Question


def raw_data_suite(*, n_fetched: int, max_rejected_fraction: float) -> ExpectationSuite:
    """What must hold for all fetched rows: columns row and rejected (0/1).

    Args:
        n_fetched: Rows that the source reported, in the frame or not.
        max_rejected_fraction: Limit in [0, 1], inclusive.
    """
    return ExpectationSuite(
        "raw_data",
        expectations=[
            _row_count(n_fetched, f"all {n_fetched} fetched rows are there"),
            *_identified_rows(),
            *_binary("rejected"),
            ExpectRejectedFractionToBeAtMost(column="rejected", max_value=max_rejected_fraction),
        ],
    )


def samples_suite(
    *, n_samples: int, n_unique: int, min_rows: int, has_prompts: bool
) -> ExpectationSuite:
    """What must hold for the rows that became samples, the frame without the rejected ones.

    Columns: row, sample_id, n_target_chars and, with `has_prompts`, n_prompt_chars.

    Args:
        n_samples: Rows that were not rejected, as reported.
        n_unique: Distinct sample ids, as reported.
        min_rows: Fewest samples that make a data set.
        has_prompts: Whether every row of the format has a prompt; plain text has none.
    """
    prompts = _at_least_one("n_prompt_chars", "prompt") if has_prompts else []
    return ExpectationSuite(
        "samples",
        expectations=[
            _row_count(n_samples, f"all {n_samples} rows that were not rejected are there"),
            gxe.ExpectTableRowCountToBeBetween(
                min_value=min_rows, description=f"at least {min_rows} samples"
            ),
            *_identified_rows(),
            _not_null("sample_id", "every sample has an id"),
            gxe.ExpectColumnUniqueValueCountToBeBetween(
                column="sample_id",
                min_value=n_unique,
                max_value=n_unique,
                description=f"exactly {n_unique} distinct sample ids, as reported",
            ),
            *prompts,
            *_at_least_one("n_target_chars", "target"),
        ],
    )


def gate_suite(
    *,
    n_fetched: int,
    n_rejected: int,
    questions: Sequence[Question],
    decided: Sequence[Limits],
    n_approved: int = 0,
) -> ExpectationSuite:
    """What must hold for the table of flags.

    Columns: row, sample_id, status, spectral_entropy and, for each decided question, those of
    `mark_columns` (0/1). Where people have decided on rows, also `open` (0/1), and the marks of
    open rows alone, in columns of the same names behind `open_`.

    Args:
        n_fetched: Rows that the source reported.
        n_rejected: Those that did not become samples.
        questions: That were asked.
        decided: How large the marked parts may be, for each question whose method could decide;
            of the others no row is flagged, and there is nothing to expect.
        n_approved: Rows that people have decided on, which no part is of.
    """
    n_rows = n_fetched - n_rejected
    n_open = n_rows - n_approved
    flags = [] if n_approved == 0 else [*_binary("open"), _open_count(n_open)]
    for limits in decided:
        columns = mark_columns(limits.question, questions)
        flags += [*_binary(columns[0]), *_binary(columns[1])]
        if n_open:
            flags += _within(limits, *(columns if n_approved == 0 else map(open_column, columns)))
    return ExpectationSuite(
        "gate",
        expectations=[
            _row_count(
                n_rows, f"a score for each of the {n_fetched} fetched - {n_rejected} rejected rows"
            ),
            *_identified_rows(),
            _not_null("sample_id", "every scored row has a sample id"),
            _not_null("status", "every row has a status"),
            gxe.ExpectColumnValuesToBeInSet(
                column="status", value_set=["scored"], description='status is "scored" in every row'
            ),
            _not_null("spectral_entropy", "no spectral entropy is missing or NaN"),
            gxe.ExpectColumnValuesToBeBetween(
                column="spectral_entropy",
                min_value=0.0,
                max_value=1.0,
                description="every spectral entropy is finite and in [0, 1]",
            ),
            *flags,
        ],
    )


def mark_columns(question: Question, questions: Sequence[Question]) -> tuple[str, str]:
    """Where the frame has whether a row is flagged, and whether it is flagged or in doubt."""
    prefix = "" if len(questions) == 1 else f"{question}_"
    return f"{prefix}flagged", f"{prefix}flagged_or_in_doubt"


def open_column(column: str) -> str:
    """Where the frame has the same of rows that nobody has decided on; nothing of the others."""
    return f"open_{column}"


def _within(limits: Limits, flagged: str, either: str) -> list[Expectation]:
    fraction, review = FRACTION_LIMITS[limits.question]
    return [
        fraction(column=flagged, max_value=limits.max_fraction),
        review(column=either, max_value=limits.review_above),
    ]


def _row_count(value: int, description: str) -> Expectation:
    return gxe.ExpectTableRowCountToEqual(value=value, description=description)


def _open_count(n_open: int) -> Expectation:
    return gxe.ExpectColumnSumToBeBetween(
        column="open",
        min_value=n_open,
        max_value=n_open,
        description=f"{n_open} rows are open: people have decided on the others",
    )


def _not_null(column: str, description: str) -> Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column, description=description)


def _identified_rows() -> list[Expectation]:
    return [
        _not_null("row", "every row number is there"),
        gxe.ExpectColumnValuesToBeUnique(column="row", description="no row number occurs twice"),
    ]


def _binary(column: str) -> list[Expectation]:
    """The marked part of a 0/1 column leaves rows without a value out."""
    return [
        _not_null(column, f"{column} is known for every row"),
        gxe.ExpectColumnValuesToBeInSet(
            column=column, value_set=[0, 1], description=f"{column} is 0 or 1"
        ),
    ]


def _at_least_one(column: str, part: str) -> list[Expectation]:
    return [
        _not_null(column, f"the length of every {part} is known"),
        gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=1, description=f"no {part} is empty"
        ),
    ]
