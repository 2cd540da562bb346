"""The table of tokens: what is read is what was written, and rows that differ are an error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gradgate.common.run_folder import SAMPLE_SCHEMA, SCORE_SCHEMA, RunFolder
from gradgate.config import ModelConfig
from gradgate.data.prepare import PreparedSample, iter_prepared
from gradgate.errors import DataError
from gradgate.methods import tokens as tokens_module
from gradgate.methods.contract import Scores
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL, diverse_rows, scored_rows

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(path=str(MODEL)))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Thirty rows, two of which have no score."""
    return RunFolder(scored_rows(tmp_path, diverse_rows(30), failed=[3, 29]).folder)


def samples_of(run: RunFolder) -> list[PreparedSample]:
    return [sample for window in iter_prepared(run.samples, 100) for sample in window]


def read(run: RunFolder, tokenizer: PreTrainedTokenizerBase) -> TokenTable:
    scores = Scores.read(run.scores, [])
    return TokenTable.read(run, scores.rows, scores.sample_ids, tokenizer)


@pytest.mark.parametrize("batch_rows", [1, 7, 1_000])
def test_what_was_written_is_read(
    run: RunFolder,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
    batch_rows: int,
) -> None:
    monkeypatch.setattr(tokens_module, "_READ_ROWS", batch_rows)
    table = read(run, tokenizer)
    lines = pq.read_table(run.scores)["token_logp"].to_pylist()
    dtypes = [array.dtype for array in (table.ids, table.is_target, table.logp, table.starts)]
    assert dtypes == [np.int32, np.bool_, np.float32, np.int64]
    for i, (sample, logp) in enumerate(zip(samples_of(run), lines, strict=True)):
        ids, is_target, found = table.row(i)
        assert ids.tolist() == sample.tokens.input_ids
        assert is_target.tolist() == sample.tokens.is_target
        expected = [np.nan] * len(ids) if logp is None else [np.nan, *logp[1:]]
        np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert table.starts[-1] == len(table.ids) == len(table.logp)
    assert np.flatnonzero(table.lacking()).tolist() == [3, 29]


def test_a_large_table_lies_on_disk(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read(run, tokenizer)
    monkeypatch.setattr("gradgate.common.scratch.IN_MEMORY", len(table.ids) - 1)
    monkeypatch.setattr(tokens_module, "_READ_TOKENS", 7)
    large = read(run, tokenizer)
    for name in ("ids", "is_target", "logp"):
        assert isinstance(getattr(large, name), np.memmap)
        assert not isinstance(getattr(table, name), np.memmap)
        np.testing.assert_array_equal(getattr(large, name), getattr(table, name))
    assert large.spelling.tolist() == table.spelling.tolist()
    assert large.lacking().tolist() == table.lacking().tolist()


def test_rows_that_were_joined_are_the_same_table(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase
) -> None:
    table = read(run, tokenizer)
    again = TokenTable.joined([table.row(i) for i in range(30)], tokenizer)
    for name in ("ids", "is_target", "logp", "starts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    nothing = TokenTable.joined([], tokenizer)
    assert (nothing.starts.tolist(), len(nothing.ids), len(nothing.lacking())) == ([0], 0, 0)


def test_a_row_lacks_what_stands_before_its_last_target_alone() -> None:
    nan = np.nan
    rows = [
        ([False, False, True, False], [nan, -1, -2, nan], False),
        ([False, False, True, False], [nan, nan, -2, nan], True),
        ([False, True, False, True], [nan, -1, nan, -2], True),
        ([True, True, False, False], [nan, -1, nan, nan], False),
        ([False, False, True, False], [nan, -1, -np.inf, nan], True),
        ([True, False, False, False], [nan, -1, -1, -1], True),  # nothing is learnt
        ([], [], True),
    ]
    made = [
        (np.zeros(len(marks), np.int32), np.array(marks, bool), np.array(logp, np.float32))
        for marks, logp, _ in rows
    ]
    table = TokenTable.joined(made, PreTrainedTokenizerBase())
    assert table.lacking().tolist() == [lacks for *_, lacks in rows]


def change(path: Path, schema: Any, edit: Callable[[Lines], object]) -> None:
    lines = pq.read_table(path).to_pylist()
    edit(lines)
    pq.write_table(type(pq.read_table(path)).from_pylist(lines, schema=schema), path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda lines: lines.pop(), "29 rows, and there are 30 scores"),
        (lambda lines: lines.append(lines[0] | {"row": 99}), "other rows than the scores"),
        (lambda lines: lines.reverse(), "other rows than the scores, from line 0 on"),
        (lambda lines: lines[5].update(sample_id="other"), "other rows than the scores"),
        (lambda lines: lines[5]["is_target"].pop(), "different lengths"),
        (lambda lines: lines[5].update(input_ids=[1], is_target=[True]), "number of tokens"),
    ],
)
def test_samples_that_are_not_those_of_the_scores_are_an_error(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase, edit: Callable[[Lines], object], words: str
) -> None:
    change(run.samples, SAMPLE_SCHEMA, edit)
    with pytest.raises(DataError, match=words):
        read(run, tokenizer)


def test_a_score_of_another_length_is_an_error(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase
) -> None:
    change(run.scores, SCORE_SCHEMA, lambda lines: lines[7]["token_logp"].append(-1.0))
    with pytest.raises(DataError, match="differ in the number of tokens"):
        read(run, tokenizer)


def test_a_table_without_log_probabilities_is_an_error(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase
) -> None:
    pq.write_table(pq.read_table(run.scores).drop_columns("token_logp"), run.scores)
    with pytest.raises(DataError, match="token_logp"):
        read(run, tokenizer)


def test_the_text_of_tokens_is_the_text_itself(tokenizer: PreTrainedTokenizerBase) -> None:
    table = TokenTable.joined([], tokenizer)
    for text in (
        " two words",
        "Tabs\tand\n\nlines  twice ",
        "héé 字 \u200b🙂",
        "do n't , please .",
    ):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert table.text(ids) == text
        if text.isascii():
            assert "".join(table.pieces(ids)) == text
    special = tokenizer.eos_token_id
    assert table.text([special]) == tokenizer.eos_token
    assert table.text([]) == ""
    assert table.pieces([]) == []
    assert len(table.pieces(np.arange(len(tokenizer)))) == len(tokenizer)


def test_a_space_that_a_decoder_drops_at_the_beginning_is_there() -> None:
    vocabulary = {"<unk>": 0, "▁the": 1, "▁end": 2, "ing": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    table = TokenTable.joined([], PreTrainedTokenizerFast(tokenizer_object=backend))
    assert table.tokenizer.decode([1, 2, 3]) == "the ending"
    assert table.text([1, 2, 3]) == " the ending"
    assert table.pieces([1, 3, 2]) == [" the", "ing", " end"]
