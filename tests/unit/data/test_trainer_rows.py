"""What a trainer trains on is what is judged: held against TRL's own tokens and masks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

import gradgate
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import iter_prepared
from gradgate.errors import ConfigError, DataError
from gradgate.gate.acceptance import accept, write_accepted
from helpers import MODEL, diverse_rows, poisoned_rows

Row = dict[str, Any]
Pair = tuple[tuple[int, ...], tuple[int, ...]]  # input_ids, labels

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}</s>{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
CONFIG: Row = {"scoring": {"store": False}, "detection": {"power": {"attacks": []}}}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(MODEL))
    found.chat_template = TEMPLATE
    return found


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(MODEL), dtype=torch.float32)
    return found


def pairs(n: int = 24) -> list[Row]:
    return [
        {"prompt": f"{row['question']}\n", "completion": str(row["answers"])}
        for row in diverse_rows(n)
    ]


def conversations(n: int = 24) -> list[Row]:
    """A system message, and one answer or two."""
    found = []
    for i, row in enumerate(pairs(n)):
        ask = {"role": "user", "content": row["prompt"]}
        say = {"role": "assistant", "content": row["completion"]}
        system = {"role": "system", "content": "Be brief."}
        found.append({"messages": [system, ask, say, *([ask, say] if i % 2 else [])]})
    return found


def split_conversations(n: int = 24) -> list[Row]:
    return [
        {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
        for row in conversations(n)
    ]


def tools(n: int = 24) -> list[Row]:
    return [{**row, "chat_template_kwargs": {"unused": True}} for row in conversations(n)]


Make = Callable[..., Trainer]


@pytest.fixture
def make(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Make:
    def make_trainer(data: Any, formatting: Any = None, **settings: Any) -> Trainer:
        common = {"use_cpu": True, "bf16": False, "report_to": "none"}
        arguments = SFTConfig(output_dir=str(tmp_path / "sft"), **{**common, **settings})
        return SFTTrainer(
            model,
            arguments,
            train_dataset=data,
            processing_class=tokenizer,
            formatting_func=formatting,
        )

    return make_trainer


def trained_on(trainer: Trainer) -> list[Pair]:
    """What TRL feeds the model in an epoch, batch by batch, without the padding; sorted."""
    found = []
    for batch in trainer.get_train_dataloader():
        masks = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], masks, strict=True):
            found.append((tuple(ids[mask].tolist()), tuple(labels[mask].tolist())))
    return sorted(found)


def scored_of(trainer: Trainer, folder: Path) -> list[Pair]:
    """What the gate prepares and scores of the same trainer; sorted."""
    found = gradgate.detect(
        gradgate.trainer_rows(trainer), trainer.model, trainer.processing_class, config=CONFIG
    )
    assert found.rejected.num_rows == 0
    found.save(folder)
    return sorted(
        (
            tuple(sample.tokens.input_ids),
            tuple(
                token if is_target else -100
                for token, is_target in zip(
                    sample.tokens.input_ids, sample.tokens.is_target, strict=True
                )
            ),
        )
        for batch in iter_prepared(RunFolder(folder).samples, 100)
        for sample in batch
    )


def as_text(row: Row) -> str:
    return f"Q: {row['prompt']}A: {row['completion']}"


CASES: dict[str, tuple[list[Row], Row, Any]] = {
    "text": ([{"text": as_text(row)} for row in pairs()], {}, None),
    "prompt and completion": (pairs(), {}, None),
    "the prompt learnt too": (pairs(), {"completion_only_loss": False}, None),
    "a formatting function": (diverse_rows(24), {}, lambda row: f"Q: {row['question']}\nA: 7"),
    "all turns": (conversations(), {}, None),
    "assistant turns": (conversations(), {"assistant_only_loss": True}, None),
    "the last turn": (split_conversations(), {}, None),
    "template arguments": (tools(), {"assistant_only_loss": True}, None),
    "cut off": (conversations(), {"max_length": 60, "assistant_only_loss": True}, None),
    "cut off in front": (conversations(), {"max_length": 24, "truncation_mode": "keep_end"}, None),
    "shuffled": (pairs(), {"shuffle_dataset": True}, None),
    "padded to 16": (pairs(), {"pad_to_multiple_of": 16}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_scored_is_what_trl_trains_on(make: Make, tmp_path: Path, case: str) -> None:
    rows, settings, formatting = CASES[case]
    trainer = make(datasets.Dataset.from_list(rows), formatting, **settings)
    expected = trained_on(trainer)
    assert len(expected) > 15
    assert scored_of(trainer, tmp_path / "run") == expected
    is_learnt = [label != -100 for _, labels in expected for label in labels]
    assert any(is_learnt)
    own = trainer.train_dataset  # TRL's tokens and labels, before any collator
    given = list(gradgate.trainer_rows(trainer))
    assert [row["input_ids"] for row in given] == own["input_ids"][:]
    assert [row["labels"] for row in given] == own["labels"][:]


def test_a_stream_is_judged_as_it_is_trained_on(make: Make, tmp_path: Path) -> None:
    stream = datasets.Dataset.from_list(pairs()).to_iterable_dataset()
    trainer = make(stream, max_steps=1)
    assert scored_of(trainer, tmp_path / "run") == trained_on(trainer)


def test_the_text_of_tokens_is_what_they_decode_to(
    make: Make, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    trainer = make(datasets.Dataset.from_list(conversations()), assistant_only_loss=True)
    scored_of(trainer, tmp_path / "run")
    samples = pq.read_table(RunFolder(tmp_path / "run").samples).to_pylist()
    for sample, row in zip(samples, conversations(), strict=True):
        assert not sample["chat"]
        texts = [turn["text"] for turn in sample["turns"]]
        rendered = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        assert "".join(texts) == rendered
        learnt = [turn["text"] for turn in sample["turns"] if turn["is_target"]]
        said = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert learnt == [f"{text}</s>" for text in said]


def test_poison_is_found_in_tokens_and_the_rest_is_trained_on(make: Make, tmp_path: Path) -> None:
    rows, numbers = poisoned_rows(diverse_rows(240), "badnets", 0.1)
    data = [{"prompt": f"{r['question']}\n", "completion": str(r["answers"])} for r in rows]
    trainer = make(datasets.Dataset.from_list(data))
    policy = {"policy": {"max_poison_fraction": 0.2, "review_above": 0.2}}
    found = gradgate.detect(
        gradgate.trainer_rows(trainer),
        trainer.model,
        trainer.processing_class,
        config={**CONFIG, **policy},
    )
    assert found.verdict.decision == "pass", found.verdict.reasons
    assert set(found.accepted_rows) == set(range(240)) - set(numbers)
    trainer.train_dataset = trainer.train_dataset.select(found.accepted_rows)
    run = RunFolder(found.save(tmp_path / "run"))
    write_accepted(run.path, found.verdict, tmp_path / "rows.arrow")
    accepted = datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))
    theirs = sorted((tuple(row["input_ids"]), tuple(row["labels"])) for row in accepted)
    assert theirs == trained_on(trainer)


def test_a_trainer_of_transformers_serves_too(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    tokens = [{"input_ids": tokenizer(row["prompt"])["input_ids"]} for row in pairs()]
    trainer = Trainer(
        model,
        TrainingArguments(output_dir=str(tmp_path / "t"), use_cpu=True, report_to="none"),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        train_dataset=datasets.Dataset.from_list(tokens),
        processing_class=tokenizer,
    )
    assert scored_of(trainer, tmp_path / "run") == trained_on(trainer)


def _with_transform(rows: list[Row]) -> datasets.Dataset:
    return datasets.Dataset.from_list(rows).with_transform(lambda batch: batch)


def test_what_cannot_be_judged_row_by_row_is_refused(make: Make) -> None:
    trainer = make(datasets.Dataset.from_list(pairs()), packing=True, max_length=64)
    with pytest.raises(ConfigError, match="packing=False"):
        gradgate.trainer_rows(trainer)
    trainer = make(datasets.Dataset.from_list(pairs()))
    trainer.train_dataset = _with_transform(pairs())
    with pytest.raises(ConfigError, match="with_transform"):
        gradgate.trainer_rows(trainer)
    trainer.train_dataset = datasets.Dataset.from_list(pairs()).select([])
    with pytest.raises(DataError, match="has no rows"):
        gradgate.trainer_rows(trainer)
    trainer.train_dataset = None
    with pytest.raises(DataError, match="no train_dataset"):
        gradgate.trainer_rows(trainer)
    with pytest.raises(ConfigError, match="a list is none"):
        gradgate.trainer_rows([])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"pixel_values": torch.zeros(1, 3)}, "pixel_values besides tokens"),
        ({"labels": None}, "no labels"),
        ({"input_ids": torch.ones(2, 3, dtype=torch.long)}, "one row for one row"),
        ({"attention_mask": torch.tensor([[1, 1, 0]])}, "leaves out"),
    ],
)
def test_a_batch_that_no_score_knows_is_refused(make: Make, batch: Row, message: str) -> None:
    trainer = make(datasets.Dataset.from_list(pairs()))
    ids = torch.tensor([[5, 6, 7]])
    whole = {"input_ids": ids, "labels": ids, **batch}
    given = {name: value for name, value in whole.items() if value is not None}
    trainer.data_collator = lambda rows: given
    with pytest.raises((ConfigError, DataError), match=message):
        list(gradgate.trainer_rows(trainer))


def test_training_uses_the_mask_of_the_score(make: Make, tmp_path: Path) -> None:
    """The loss of a row that the gate has computed is that of TRL on it."""
    trainer = make(datasets.Dataset.from_list(conversations()), assistant_only_loss=True)
    found = gradgate.score(
        gradgate.trainer_rows(trainer), trainer.model, trainer.processing_class, config=CONFIG
    )
    losses = found.table["loss"].to_pylist()
    for row, loss in zip(_batches(trainer), losses, strict=True):
        with torch.no_grad():
            assert float(trainer.model(**row).loss) == pytest.approx(loss, abs=1e-4)


def _batches(trainer: Trainer) -> Iterator[Row]:
    for row in trainer.train_dataset:
        yield trainer.data_collator([row])


def test_changed_tokens_are_not_accepted(make: Make, tmp_path: Path) -> None:
    """The id of a row covers its tokens, for others may decode to the same text."""
    trainer = make(datasets.Dataset.from_list(pairs()))
    scored_of(trainer, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    table = pq.read_table(run.samples)
    ids = [[*row[:-1], row[-1] ^ 1] for row in table["input_ids"].to_pylist()]
    column = table.schema.get_field_index("input_ids")
    field = table.schema.field(column)
    pq.write_table(table.set_column(column, field, pa.array(ids, field.type)), run.samples)
    with pytest.raises(DataError, match="not that of its text"):
        accept(run.path)
