"""The truth about rows, which is taken out of them."""

import numpy as np
import pytest

from gradgate.compare.labels import LabelledRows, Labels
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.in_memory import rows_in_memory
from gradgate.errors import DataError


def read(rows: list[object], wanted: str | None = None) -> tuple[list[RawRow], Labels]:
    labelled = LabelledRows(rows_in_memory(rows), wanted)
    return list(labelled), labelled.labels


def marks(labels: Labels, column: str, rows: list[int]) -> list[bool]:
    return labels.of(column, np.array(rows)).tolist()


@pytest.mark.parametrize("yes", [True, 1, 1.0, "1", "true", "True", " TRUE "])
@pytest.mark.parametrize("no", [False, 0, 0.0, "0", "false", "False"])
def test_a_label_is_a_truth_value_as_files_write_it(yes: object, no: object) -> None:
    _, labels = read([{"text": "a", "poisoned": yes}, {"text": "b", "poisoned": no}])
    assert marks(labels, "poisoned", [1, 0]) == [False, True]


def test_rows_lose_their_labels_and_nothing_else() -> None:
    rows, labels = read([{"text": "a", "poisoned": 1, "harmful": False, "id": 7}])
    assert rows == [RawRow(0, {"text": "a", "id": 7}, "")]
    assert sorted(labels.columns) == ["harmful", "poisoned"]
    assert labels.column_for("harmful") == "harmful"
    assert labels.column_for("poisoned") == "poisoned"
    line = RawRow(0, {"text": "a", "poisoned": 1}, '{"text": "a", "poisoned": 1}')
    (stripped,) = LabelledRows([line], None)
    assert stripped.content() == '{"text": "a"}'  # as it would be written down when it is rejected


def test_a_named_column_is_the_only_one_and_answers_every_question() -> None:
    rows, labels = read([{"text": "a", "poisoned": 0, "is_bad": 1}], "is_bad")
    assert rows[0].value == {"text": "a", "poisoned": 0}
    assert (labels.column_for("harmful"), labels.column_for("poisoned")) == ("is_bad", "is_bad")


def test_an_unreadable_row_has_no_label_and_moves_no_other() -> None:
    rows, labels = read([7, {"text": "a", "poisoned": 0}, 8, {"text": "b", "poisoned": 1}])
    assert [row.value is None for row in rows] == [True, False, True, False]
    assert marks(labels, "poisoned", [1, 3]) == [False, True]
    with pytest.raises(DataError, match="row 2 has no label"):
        marks(labels, "poisoned", [1, 2])


def test_a_column_of_a_usual_name_with_other_content_is_no_label() -> None:
    rows, labels = read([{"text": "a", "harmful": "violence"}])
    assert labels.columns == {}
    assert labels.column_for("harmful") is None
    assert rows[0].value == {"text": "a", "harmful": "violence"}


@pytest.mark.parametrize("value", [None, 2, "yes", "", [1]])
def test_a_row_without_a_truth_value_is_an_error(value: object) -> None:
    with pytest.raises(DataError, match=r"row 1: column 'poisoned' holds .*true or false"):
        read([{"text": "a", "poisoned": 0}, {"text": "b", "poisoned": value}])


def test_a_named_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no column 'bad' .* columns found are text, poisoned"):
        read([{"text": "a", "poisoned": 0}], "bad")
