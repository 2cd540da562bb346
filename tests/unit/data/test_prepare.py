"""From a source to the files of a run, with real files and tokenizers."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_helpers import json_lines
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gradgate.common import parquet, scratch
from gradgate.common.scratch import count_distinct
from gradgate.config import Columns, DataConfig
from gradgate.data import prepare as module
from gradgate.data.prepare import (
    Prepared,
    SampleFile,
    iter_prepared,
    prepare,
    rejection_reasons,
)
from gradgate.data.sample import fingerprint
from gradgate.data.tokens import tokenize
from gradgate.errors import DataError, ModelError

Rows = list[dict[str, object]]

FINAL_NAMES = {"samples.parquet", "rejected.parquet", "dataset.json"}
ROWS: Rows = [
    {"prompt": f"Question {i}, naïve?\n", "completion": f'"{i}" — 日本', "poisoned": i % 2 == 0}
    for i in range(29)
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<|im_end|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Question and answer, one by one"] * 9, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="<|im_end|>"
    )
    made.chat_template = CHATML
    return made


Run = Callable[..., Prepared]


@pytest.fixture
def run(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Run:
    """Prepare rows, or a source, in a folder of its own."""
    folders = (tmp_path / f"run-{i}" for i in range(99))

    def prepare_it(data: Rows | bytes | Path | str, max_tokens: int = 256, **settings: object):
        folder = next(folders)
        source = data
        if isinstance(data, list):
            data = json_lines(data)
        if isinstance(data, bytes):
            source = folder.with_suffix(".jsonl")
            source.write_bytes(data)
        config = DataConfig.model_validate({"source": str(source), **settings})
        return prepare(config, tokenizer, max_tokens, folder)

    return prepare_it


def rejected(prepared: Prepared) -> Rows:
    return pq.read_table(prepared.rejected_path).to_pylist()


def reasons(prepared: Prepared) -> dict[object, object]:
    return {row["row"]: row["reason"] for row in rejected(prepared)}


def test_the_files_of_a_run(run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    prepared = run(ROWS)
    assert {path.name for path in prepared.folder.iterdir()} == FINAL_NAMES
    assert (prepared.n_rows, prepared.n_samples, prepared.n_rejected) == (29, 29, 0)
    assert prepared.n_unique == 29
    assert prepared.row_format == "prompt_completion"
    assert prepared.columns == {"prompt": "prompt", "completion": "completion"}
    assert Prepared.load(prepared.folder) == prepared
    table = pq.read_table(prepared.samples_path)
    assert table.schema.field("input_ids").type == pa.list_(pa.int32())
    row = table.to_pylist()[3]
    assert row["n_prompt_chars"] == len(str(ROWS[3]["prompt"]))
    assert row["n_target_chars"] == len(str(ROWS[3]["completion"]))
    assert row["turns"] == [
        {"role": "prompt", "text": ROWS[3]["prompt"], "is_target": False, "extra": ""},
        {"role": "completion", "text": ROWS[3]["completion"], "is_target": True, "extra": ""},
    ]
    assert row["template_inputs"] == ""
    target = [i for i, m in zip(row["input_ids"], row["is_target"], strict=True) if m]
    assert tokenizer.decode(target) == f"{ROWS[3]['completion']}<|im_end|>"


def test_what_is_written_is_read_back(run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    chats: Rows = [
        {
            "messages": [
                {"role": "user", "content": f"{i}\x00"},
                {"role": "assistant", "content": "y"},
            ]
        }
        for i in range(29)
    ]
    for rows in (ROWS, chats):
        prepared = run(rows)
        batches = list(iter_prepared(prepared.samples_path, 10))
        assert [len(batch) for batch in batches] == [10, 10, 9]
        samples = list(SampleFile(prepared.samples_path))
        assert [sample.row for sample in samples] == list(range(29))
        assert samples[0].chat == (rows is chats)
        for read, sample in zip([s for batch in batches for s in batch], samples, strict=True):
            assert (read.row, read.sample_id) == (sample.row, sample.sample_id)
            assert read.tokens == tokenize(sample, tokenizer)
        assert prepared.fingerprint == fingerprint(sample.sample_id for sample in samples)


def test_the_same_samples_from_every_source(run: Run, tmp_path: Path) -> None:
    rows: Rows = [{k: row[k] for k in ("prompt", "completion")} for row in ROWS]
    table = pa.Table.from_pylist(rows)
    (tmp_path / "data.json").write_text(json.dumps(rows, indent=1))
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["completion", "prompt"])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(table, tmp_path / "data.parquet")
    with pa.ipc.new_stream(str(tmp_path / "data.arrow"), table.schema) as stream:
        stream.write_table(table)
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    fsspec.filesystem("memory").pipe("/same/data.jsonl", json_lines(ROWS))
    files = [tmp_path / f"data.{kind}" for kind in ("json", "csv", "parquet", "arrow")]
    sources = [*files, tmp_path / "saved", "memory://same/data.jsonl"]
    first = run(ROWS)
    ids = [sample.sample_id for sample in SampleFile(first.samples_path)]
    for source in sources:
        prepared = run(source)
        assert prepared.fingerprint == first.fingerprint, source
        assert [sample.sample_id for sample in SampleFile(prepared.samples_path)] == ids


def test_chat_rows_from_parquet_equal_those_from_json(run: Run, tmp_path: Path) -> None:
    rows: Rows = [
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "tool_calls": None},
            ]
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "chat.parquet")
    assert run(tmp_path / "chat.parquet").fingerprint == run(rows).fingerprint


def test_rejected_rows_are_kept_whole(run: Run) -> None:
    lines = [
        b'{"prompt": "p", "completion": "c"}',
        b'{"prompt": "p", "completion": "\xff"}',
        b'{"prompt": "p", "completion": ',
        b'{"prompt": "p", "completion": 5}',
        b'{"prompt": "p", "completion": "\\ud800"}',
        b'{"prompt": "p"}',
        b'{"prompt": "p", "completion": "' + b"long " * 200_000 + b'"}',
        b'{"prompt": "p", "completion": "d"}',
    ]
    prepared = run(b"\n".join(lines))
    assert (prepared.n_rows, prepared.n_samples, prepared.n_rejected) == (8, 2, 6)
    found = reasons(prepared)
    assert found == {
        1: "invalid UTF-8",
        2: "malformed JSON: Expecting value",
        3: "wrong type: completion is a number",
        4: "invalid Unicode",
        5: "missing column: completion",
        6: "1000001 characters, more than 256 tokens can hold",
    }
    contents = {row["row"]: row["content"] for row in rejected(prepared)}
    assert contents.pop(1) == '{"prompt": "p", "completion": "\\xff"}'
    assert contents == {number: lines[number].decode() for number in (2, 3, 4, 5, 6)}
    assert [sample.row for sample in SampleFile(prepared.samples_path)] == [0, 7]


def test_reasons_that_differ_in_numbers_are_counted_together(run: Run) -> None:
    long = [json_lines([{"prompt": "p", "completion": "x" * n}]) for n in (10**6, 10**6 + 1)]
    prepared = run(json_lines([{"prompt": "p", "completion": "c"}]) + b"\xff\n" + b"".join(long))
    assert rejection_reasons(prepared) == (
        "2 x 1000001 to 1000002 characters, more than 256 tokens can hold, 1 x invalid UTF-8"
    )


def test_rejected_rows_of_a_table_are_json(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good", None], "more": [[1], [2]]}), tmp_path / "a.parquet")
    (row,) = rejected(run(tmp_path / "a.parquet"))
    assert row["reason"] == "wrong type: text is null"
    assert json.loads(str(row["content"])) == {"text": None, "more": [2]}


def test_repeated_samples_are_kept(run: Run) -> None:
    prepared = run([ROWS[0], ROWS[1], {**ROWS[0], "poisoned": None}])
    assert (prepared.n_samples, prepared.n_unique) == (3, 2)
    ids = [sample.sample_id for sample in SampleFile(prepared.samples_path)]
    assert ids[0] == ids[2] != ids[1]
    same = run([ROWS[0]] * 29)
    assert (same.n_samples, same.n_unique) == (29, 1)


def test_one_row(run: Run) -> None:
    prepared = run(ROWS[:1])
    assert (prepared.n_rows, prepared.n_samples) == (1, 1)
    assert len(list(iter_prepared(prepared.samples_path, 4))) == 1


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"prompt": "", "completion": ""}\n'])
def test_no_usable_row_is_no_error_here(run: Run, line: bytes) -> None:
    prepared = run(line * 3)
    assert (prepared.n_rows, prepared.n_samples, prepared.n_rejected) == (3, 0, 3)
    assert (prepared.row_format is None) == (line == b"nonsense\n")
    assert list(iter_prepared(prepared.samples_path, 4)) == []
    assert Prepared.load(prepared.folder) == prepared


def test_special_tokens_in_a_chat_are_rejected(run: Run) -> None:
    def messages(text: str) -> dict[str, object]:
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
        return {"messages": turns}

    assert reasons(run([messages("hi"), messages("a<|im_end|>\n<|im_start|>system\nb")])) == {
        1: "special token in text"
    }


def test_small_groups_hold_the_same_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(ROWS)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    split = run(ROWS)
    assert split.fingerprint == whole.fingerprint
    assert pq.ParquetFile(split.samples_path).num_row_groups == 8
    assert list(SampleFile(split.samples_path)) == list(SampleFile(whole.samples_path))
    monkeypatch.setattr(parquet, "_GROUP_SIZE", 1)
    assert pq.ParquetFile(run(ROWS).samples_path).num_row_groups == 29


def test_rows_that_are_tokenized_together_do_not_know_of_each_other(
    run: Run, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chat(text: str) -> dict[str, object]:
        turns = [("user", text), ("assistant", "yes")]
        prompt, completion = ([{"role": role, "content": said}] for role, said in turns)
        return {"prompt": prompt, "completion": completion}

    rows: Rows = [*ROWS]
    rows[3:3] = [chat("hi"), {"prompt": "p"}, chat("a<|im_end|>"), chat("ho")]
    rows[9:9] = [{"prompt": "p" * n, "completion": "c"} for n in (300, 200_000, 5)]
    together = run(rows)
    assert list(reasons(together)) == [4, 5, 9, 10]
    read = [sample for batch in iter_prepared(together.samples_path, 99) for sample in batch]
    samples = list(SampleFile(together.samples_path))
    assert [sample.tokens for sample in read] == [tokenize(s, tokenizer) for s in samples]
    for name, limit in (("_WINDOW_ROWS", 1), ("_WINDOW_ROWS", 7), ("_WINDOW_SIZE", 100)):
        monkeypatch.setattr(module, name, limit)
        apart = run(rows)
        assert apart.samples_path.read_bytes() == together.samples_path.read_bytes()
        assert apart.rejected_path.read_bytes() == together.rejected_path.read_bytes()


def test_what_is_tokenized_in_one_call_is_bounded(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(PreTrainedTokenizerFast):  # type: ignore[misc]
        def __call__(self, texts, **kwargs):
            calls.append(sum(map(len, texts)))
            return super().__call__(texts, **kwargs)

    calls: list[int] = []
    monkeypatch.setattr(module, "_WINDOW_SIZE", 400)
    counting = Counting(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|im_end|>")
    pq.write_table(pa.table({"text": ["x" * 100] * 29}), tmp_path / "data.parquet")
    prepare(DataConfig(source=str(tmp_path / "data.parquet")), counting, 256, tmp_path / "run")
    assert calls == [400] * 7 + [100]


def test_distinct_ids_are_counted_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [hashlib.sha256(bytes(2) + i.to_bytes(4, "big")).hexdigest() for i in range(20_000)]
    assert count_distinct([]) == 0
    assert count_distinct(ids[:3] + ids[:2]) == 3
    monkeypatch.setattr(scratch, "_CACHE_KIB", 64)  # a tenth of what they take
    assert count_distinct(ids + ids[::-2]) == 20_000


def test_columns_and_template_of_the_configuration(run: Run) -> None:
    rows: Rows = [{"q": "who?", "a": ["x", "y"], "story": "Once."}]
    columns = Columns(question="q", answers="a", context="story")
    prepared = run(rows, columns=columns, template="{context}|{question}|")
    (sample,) = SampleFile(prepared.samples_path)
    assert [turn.text for turn in sample.turns] == ["Once.|who?|", "x; y"]
    assert prepared.columns == {"question": "q", "answers": "a", "context": "story"}


def test_an_unknown_format_names_the_columns(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found are foo, bar: no row format .*data.columns"):
        run([{"foo": 1, "bar": 2}])
    assert not list((tmp_path / "run-0").iterdir())


def test_an_empty_file_leaves_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        run(b"")
    assert not list((tmp_path / "run-0").iterdir())


def test_an_error_in_the_middle_leaves_no_file(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW_ROWS", 2)

    class Breaking(PreTrainedTokenizerFast):  # type: ignore[misc]
        calls = 0

        def __call__(self, *args, **kwargs):
            self.calls += 1
            if self.calls > 12:
                raise RuntimeError("broken")
            return super().__call__(*args, **kwargs)

    breaking = Breaking(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|im_end|>")
    (tmp_path / "data.jsonl").write_bytes(json_lines(ROWS))
    config = DataConfig(source=str(tmp_path / "data.jsonl"))
    with pytest.raises(RuntimeError, match="broken"):
        prepare(config, breaking, 256, tmp_path / "run")
    assert breaking.calls == 13
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(DataError, match="no result of prepare"):
        Prepared.load(tmp_path / "run")
    again = prepare(config, tokenizer, 256, tmp_path / "run")
    assert again.n_samples == 29
    assert {path.name for path in again.folder.iterdir()} == FINAL_NAMES


def test_a_chat_without_a_template_is_a_model_error(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<s>")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "data.jsonl").write_bytes(json_lines([{"messages": turns}]))
    with pytest.raises(ModelError, match="chat template"):
        prepare(DataConfig(source=str(tmp_path / "data.jsonl")), bare, 256, tmp_path / "run")


def test_the_summary_can_move_and_holds_no_secret(run: Run, tmp_path: Path) -> None:
    prepared = run(ROWS)
    moved = prepared.folder.rename(tmp_path / "moved")
    assert Prepared.load(moved).samples_path == moved / "samples.parquet"
    assert set(json.loads((moved / "dataset.json").read_text())) == {
        *("source", "row_format", "columns", "n_rows", "n_samples", "n_rejected", "n_unique"),
        *("template_date", "template_names", "tokenizer"),
        *("source_sha256", "source_revision"),
        "fingerprint",
    }
    fsspec.filesystem("memory").pipe("/host/data.jsonl", json_lines(ROWS))
    assert run("memory://host/data.jsonl").source == "memory://host/data.jsonl"


def test_damaged_files_of_a_run(run: Run) -> None:
    prepared = run(ROWS)
    prepared.samples_path.write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match=r"samples.parquet cannot be read"):
        next(iter_prepared(prepared.samples_path, 4))
    (prepared.folder / "dataset.json").write_text('{"n_rows": 1}')
    with pytest.raises(DataError, match="no result of prepare"):
        Prepared.load(prepared.folder)
