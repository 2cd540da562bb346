"""Rows that are tokens: what is no single sample of text is rejected."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerBase

from gradgate.config import DataConfig, ModelConfig
from gradgate.data.formats.mapping import detect_format
from gradgate.data.prepare import iter_prepared, prepare
from gradgate.data.sample import RejectedRowError
from gradgate.data.tokenized import tokenized_sample
from gradgate.errors import DataError
from gradgate.models.loading import load_tokenizer
from helpers import MODEL, write_jsonl

Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(path=str(MODEL)))


SINGLE: Row = {"seq_lengths": [3], "position_ids": [0, 1, 2], "seq_idx": [0, 0, 0]}


def row_of(ids: list[int], n_prompt: int = 2, **more: object) -> Row:
    return {"input_ids": ids, "labels": [-100] * n_prompt + ids[n_prompt:], **more}


def test_text_and_mask_are_those_of_the_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("what is it? a lamp")["input_ids"]
    n = len(ids)
    labels = [-100, *ids[1:3], -100, *ids[4:]]
    sample, tokens = tokenized_sample({"input_ids": ids, "labels": labels}, 7, tokenizer, 512)
    assert tokens.input_ids == ids
    assert tokens.is_target == [False, True, True, False, *[True] * (n - 4)]
    assert "".join(turn.text for turn in sample.turns) == tokenizer.decode(ids)
    assert [turn.is_target for turn in sample.turns] == [False, True, False, True]
    assert sample.row == 7


def test_other_tokens_of_the_same_text_are_another_sample(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    whole = tokenizer("the model")["input_ids"]
    letters = [i for c in "the model" for i in tokenizer(c, add_special_tokens=False)["input_ids"]]
    pair = [
        tokenized_sample({"input_ids": ids, "labels": ids}, 0, tokenizer, 512)[0]
        for ids in (whole, letters)
    ]
    assert whole != letters
    assert pair[0].turns == pair[1].turns
    assert pair[0].sample_id != pair[1].sample_id
    masked = tokenized_sample(row_of(whole, 1), 0, tokenizer, 512)[0]
    assert masked.sample_id != pair[0].sample_id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_ids": [5, 6], "labels": [5]}, "2 input_ids and 1 labels"),
        ({"input_ids": [5, 6, 7], "labels": [-100, 6, 9]}, "another token"),
        ({"input_ids": [5, 6, 7], "labels": [-100, 6, -1]}, "another token"),
        ({"input_ids": [5, 6], "labels": [5, -100]}, "no supervised token"),
        ({"input_ids": [], "labels": []}, "wrong type: input_ids"),
        ({"input_ids": "5 6", "labels": [5, 6]}, "wrong type: input_ids"),
        ({"input_ids": [5, True], "labels": [5, True]}, "wrong type: input_ids"),
        ({"input_ids": [5, 6.0], "labels": [5, 6]}, "wrong type: input_ids"),
        ({"input_ids": [5, 10**6], "labels": [5, 10**6]}, "token id that the tokenizer"),
        ({"input_ids": [5, -7], "labels": [5, -7]}, "token id that the tokenizer"),
        (row_of([5, 6, 7], seq_lengths=[1, 2]), "packed into the row"),
        (row_of([5, 6, 7, 8], position_ids=[0, 1, 0, 1]), "packed into the row"),
        (row_of([5, 6, 7, 8], position_ids=[[0, 1, 0, 1]]), "packed into the row"),
        (row_of([5, 6, 7], seq_idx=[0, 0, 1]), "packed into the row"),
        (row_of([5, 6, 7], position_ids=np.array([0, 1, 0])), "packed into the row"),
        (row_of([5, 6, 7], position_ids=[[0, 1, 2]] * 3), "packed into the row"),
        (row_of([5, 6, 7], position_ids=["0", None, 2]), "packed into the row"),
        (row_of([5, 6, 7], cu_seq_lens_q=[0, 1, 3]), "packed into the row"),
        (row_of([5, 6, 7], attention_mask=[0, 1, 1]), "leaves out tokens"),
        (row_of([5] * 40), "40 tokens, more than the limit of 32"),
    ],
)
def test_rows_that_teach_another_thing_than_their_tokens_are_rejected(
    tokenizer: PreTrainedTokenizerBase, row: Row, reason: str
) -> None:
    with pytest.raises(RejectedRowError, match=reason):
        tokenized_sample(row, 0, tokenizer, 32)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_of_tokens_is_taken_as_it_is(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, kind: str
) -> None:
    """The text beside the tokens is what training does not read."""
    rows = [row_of([5, 6, 7 + i], text="an honest text", **SINGLE) for i in range(4)]
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_jsonl(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    prepared = prepare(DataConfig(source=str(path)), tokenizer, 512, tmp_path / "run")
    assert (prepared.row_format, prepared.n_samples) == ("tokens", 4)
    found = [s.tokens for batch in iter_prepared(prepared.samples_path, 9) for s in batch]
    assert [tokens.input_ids for tokens in found] == [row["input_ids"] for row in rows]
    assert "honest" not in json.dumps(pq.read_table(prepared.samples_path).to_pylist())


def test_tokens_without_labels_are_an_error() -> None:
    with pytest.raises(DataError, match="input_ids and no labels"):
        detect_format(["text", "input_ids"])
