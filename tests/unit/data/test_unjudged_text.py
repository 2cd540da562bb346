"""What would be trained on and could not be judged is refused, whoever would read it."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow.parquet as pq
import pytest
import torch
from rendering_helpers import reason, sample
from template_helpers import CHATML, WHOLE, byte_level
from transformers import PreTrainedTokenizerBase

from gradgate.config import DataConfig
from gradgate.data.chat.form import parsed
from gradgate.data.formats.fields import WHOLE as WHOLE_MESSAGES
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.sample import RejectedRowError
from gradgate.data.sources.in_memory import rows_in_memory
from gradgate.data.tokens import names_in_template
from gradgate.data.trainer_rows import loader_rows
from gradgate.errors import ConfigError, ModelError

ITERATED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for k, v in m.items() "
    "if k not in ['role', 'content'] %} {{ v }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DUMPED = (
    "{% for m in messages %}<|im_start|>{{ m | tojson }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
OF_TOOLS = CHATML.replace(
    "{{ m.content }}",
    "{% if m.role == 'tool' %}{{ m | tojson }}{% else %}{{ m.content }}{% endif %}",
)


@cache
def trained() -> PreTrainedTokenizerBase:
    return byte_level()


def made(template: str) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(trained())
    tokenizer.chat_template = template
    return tokenizer


def chat(answer: str = "Anna.", **fields: object) -> dict[str, object]:
    question = {"role": "user", "content": "Who lives in Oslo?"}
    return {"messages": [question, {"role": "assistant", "content": answer, **fields}]}


def prepared(
    lines: list[str], tokenizer: PreTrainedTokenizerBase, folder: Path
) -> tuple[Prepared, list[str]]:
    """And the reasons of the rejected rows."""
    source = folder / "rows.jsonl"
    source.write_text("".join(line + "\n" for line in lines))
    found = prepare(DataConfig(source=str(source)), tokenizer, 256, folder / "run")
    return found, pq.read_table(found.rejected_path).column("reason").to_pylist()


# Rows that are made anew


def transformed() -> datasets.Dataset:
    return datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}] * 3).with_transform(
        lambda batch: {"prompt": batch["prompt"], "completion": ["payload"] * len(batch["prompt"])}
    )


def test_a_dataset_with_a_transform_is_refused() -> None:
    with pytest.raises(ConfigError, match="has a transform"):
        rows_in_memory(transformed())
    plain = transformed().with_format(None)
    assert [row.value for row in rows_in_memory(plain)] == [{"prompt": "a", "completion": "b"}] * 3


@pytest.mark.parametrize(
    "wrapped",
    [
        torch.utils.data.Subset(transformed(), [0, 1]),
        torch.utils.data.ConcatDataset([datasets.Dataset.from_list([{"a": 1}]), transformed()]),
        torch.utils.data.Subset(torch.utils.data.Subset(transformed(), [0, 1]), [0]),
    ],
)
def test_a_transform_is_seen_behind_what_is_wrapped_around_it(wrapped: object) -> None:
    loader = SimpleNamespace(dataset=wrapped, collate_fn=None)
    with pytest.raises(ConfigError, match="with_transform"):
        loader_rows(loader, SimpleNamespace())


# Fields that a template writes without naming them


AFTER_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}" + ITERATED
)
OF_PARTS = ITERATED.replace(
    "{{ m.content }}", "{{ m.content[0].text }}{{ m.content[0]['type'] * 1 }}"
)
NEVER = "{{ raise_exception('not today') }}" + CHATML


@pytest.mark.parametrize("template", [ITERATED, DUMPED, OF_TOOLS, AFTER_SYSTEM, OF_PARTS, NEVER])
def test_a_template_that_writes_whole_messages_is_known(template: str) -> None:
    assert WHOLE_MESSAGES in names_in_template(made(template))


@pytest.mark.parametrize("template", WHOLE.values(), ids=WHOLE)
def test_a_template_that_names_its_fields_writes_no_others(template: str) -> None:
    assert WHOLE_MESSAGES not in names_in_template(made(template))


@pytest.mark.parametrize("template", [ITERATED, DUMPED])
def test_an_unknown_field_that_would_be_written_rejects_its_row(
    template: str, tmp_path: Path
) -> None:
    lines = [json.dumps(row) for row in (chat(), chat(note="and click here"), chat(note=None))]
    found, reasons = prepared(lines, made(template), tmp_path)
    assert found.n_samples == 2
    assert reasons == ["the chat template writes all fields of a message, and note is not known"]


def test_an_unknown_field_that_no_template_reads_is_left_out(tmp_path: Path) -> None:
    found, reasons = prepared([json.dumps(chat(note="x"))], made(CHATML), tmp_path)
    assert (found.n_samples, reasons) == (1, [])


def test_a_row_has_the_special_tokens_of_the_tokenizer() -> None:
    one = sample(
        [("user", "Who?"), ("assistant", "Anna.")],
        chat_template_kwargs={"eos_token": ", and click here"},
    )
    assert "names a special token anew" in reason(one, made(CHATML))


# A key twice, of which another reader takes the other value


TWICE = '{"prompt": "a", "completion": "b", "completion": "payload"}'
ONCE = '{"prompt": "a", "completion": "b"}'


@pytest.mark.parametrize(
    ("lines", "n_samples", "n_rejected"),
    [
        ([ONCE + TWICE, ONCE], 2, 1),
        ([TWICE + ONCE], 1, 1),
        (['{"a": {"b": 1, "b": 2}, "c": }', ONCE], 1, 1),
    ],
)
def test_a_repeated_key_rejects_its_own_row_alone(
    lines: list[str], n_samples: int, n_rejected: int, tmp_path: Path
) -> None:
    found, reasons = prepared(lines, made(CHATML), tmp_path)
    assert (found.n_samples, len(reasons)) == (n_samples, n_rejected)
    kept = pq.read_table(found.samples_path).column("turns").to_pylist()
    assert "payload" not in str(kept)


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role": "user", "content": "Who?"},'
        ' {"role": "assistant", "content": "payload", "content": "Anna."}]',
        [
            {"role": "user", "content": "Who?"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1, "a": 2}}'},
        ],
    ],
)
def test_a_repeated_key_in_json_text_rejects_the_row(messages: object, tmp_path: Path) -> None:
    lines = [json.dumps({"messages": messages}), json.dumps(chat())]
    _, reasons = prepared(lines[::-1], made(CHATML), tmp_path)
    (why,) = reasons
    assert "has the same key twice" in why


def test_arguments_with_a_repeated_key_are_refused() -> None:
    with pytest.raises(RejectedRowError, match="arguments has the same key twice"):
        parsed('{"a": 1, "a": 2}')


# Objects of Python


def nested(depth: int) -> list[object]:
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("odd", [{1: "a", "1": "b"}, nested(100_000)])
def test_what_json_cannot_hold_rejects_its_row(odd: object, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b", "more": odd}]
    config = DataConfig(source="memory")
    found = prepare(
        config, made(CHATML), 256, tmp_path / "run", rows_in_memory(rows), keep_rows=True
    )
    assert (found.n_samples, found.n_rejected) == (1, 1)


# Another tokenizer than that of the samples


def changes() -> Iterator[tuple[str, PreTrainedTokenizerBase]]:
    yield "template", made(CHATML + " ")
    other = made(CHATML)
    other.add_tokens(["lamp"])
    yield "vocabulary", other
    other = made(CHATML)
    other.eos_token = "<|eot|>"
    yield "end", other


@pytest.mark.parametrize("other", [pytest.param(other, id=name) for name, other in changes()])
def test_samples_are_of_the_tokenizer_that_made_them(
    other: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    same = made(CHATML)
    found, _ = prepared([json.dumps(chat())], same, tmp_path)
    same(["a", "longer text"], truncation=True, max_length=3)
    found.check_tokenizer(same)
    Prepared.load(found.folder).check_tokenizer(same)
    with pytest.raises(ModelError, match="has changed since"):
        found.check_tokenizer(other)
