"""Rows of Python's objects are read as JSON and tables give them."""

from collections import OrderedDict, UserList
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from template_helpers import CHATML, byte_level

from gradgate.config import DataConfig
from gradgate.data.prepare import SampleFile, prepare
from gradgate.data.sources.in_memory import rows_in_memory

MESSAGES = [
    {"role": "user", "content": "Who lives in Oslo?"},
    {"role": "assistant", "content": "Anna."},
]


def objects() -> np.ndarray[Any, Any]:
    found = np.empty(len(MESSAGES), object)
    found[:] = MESSAGES
    return found


SEQUENCES: dict[str, Any] = {
    "tuple": tuple(MESSAGES),
    "array of numpy": objects(),
    "array of arrow": pa.array(MESSAGES),
    "chunks of arrow": pa.chunked_array([pa.array(MESSAGES)]),
    "scalar of arrow": pa.scalar(MESSAGES),
    "other list": UserList(MESSAGES),
    "other mappings": (OrderedDict(MESSAGES[0]), MappingProxyType(MESSAGES[1])),
    "mixed": [pa.scalar(MESSAGES[0]), MESSAGES[1]],
}


@pytest.mark.parametrize("messages", SEQUENCES.values(), ids=SEQUENCES)
def test_a_chat_is_any_sequence_of_mappings(messages: Any, tmp_path: Path) -> None:
    (row,) = rows_in_memory([{"messages": messages}])
    assert row.value == {"messages": MESSAGES}
    tokenizer = byte_level()
    tokenizer.chat_template = CHATML
    config, rows = DataConfig(source="memory"), [{"messages": MESSAGES}, {"messages": messages}]
    found = prepare(config, tokenizer, 256, tmp_path / "run", rows_in_memory(rows), keep_rows=True)
    assert (found.n_samples, found.n_rejected) == (2, 0)
    first, second = SampleFile(found.samples_path)
    assert first.sample_id == second.sample_id


def test_what_is_inside_is_taken_for_lists_too_and_texts_stay_texts() -> None:
    row = {"text": "a b", "raw": b"ab", "n": 3, "deep": ({"x": (1, (2.5, None))}, np.arange(2))}
    (found,) = rows_in_memory([row])
    assert found.value == {
        "text": "a b",
        "raw": b"ab",
        "n": 3,
        "deep": [{"x": [1, [2.5, None]]}, [0, 1]],
    }
    assert isinstance(row["deep"], tuple)  # whoever gave it has it as it was
