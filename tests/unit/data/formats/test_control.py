"""Nothing that training may read is passed over in silence."""

import pytest

from gradgate.config import DEFAULT_TEMPLATE, Columns, DataConfig
from gradgate.data.formats.control import changes_training
from gradgate.data.formats.mapping import Row, choose_mapping, detect_format, to_sample
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.errors import DataError

PLAIN = {"prompt": "p", "completion": "c"}


def sample_of(row: Row, first: Row | None = None, ignored: tuple[str, ...] = ()) -> Sample:
    data = DataConfig(source="x", ignore_columns=list(ignored))
    return to_sample(row, 3, choose_mapping(first or row, data), DEFAULT_TEMPLATE)


def chat(**said: object) -> Row:
    asked = {"role": "user", "content": "a"}
    last = {"role": "assistant", "content": "d"}
    first = {"role": "assistant", "content": "b", **said}
    return {"messages": [asked, first, {"role": "user", "content": "c"}, last]}


# Columns


@pytest.mark.parametrize(
    "name",
    [
        *("weight", "sample_weight", "Loss-Weight", "train", "train_on_input", "trainable"),
        *("loss", "loss_mask", "label", "labels", "mask", "completion_mask", "assistant_masks"),
        *("attention_mask", "kto_tag", "masked"),
    ],
)
def test_a_column_that_changes_what_is_trained_is_an_error(name: str) -> None:
    row = {**PLAIN, "source": "s", name: 0}
    if name == "label":  # of KTO, beside a prompt and a completion
        row = {"text": "t", name: 0}
    with pytest.raises(DataError) as caught:
        sample_of(row)
    assert str(caught.value).startswith(f"row 3 has {name}, which changes what is trained")
    assert f"data.ignore_columns (--ignore-columns {name})" in str(caught.value)
    assert sample_of(row, ignored=(name,)).turns
    assert sample_of({**row, name: None}, first=PLAIN if "prompt" in row else {"text": ""}).turns


def test_tokens_without_labels_are_an_error() -> None:
    row = {**PLAIN, "input_ids": [5, 6]}
    with pytest.raises(DataError, match=r"input_ids and no labels.*--ignore-columns input_ids"):
        sample_of(row)
    assert sample_of(row, ignored=("input_ids",)).turns


@pytest.mark.parametrize(
    "name", ["poisoned", "harmful", "drill_role", "source", "score", "trainer", "category", "lossy"]
)
def test_other_columns_change_nothing(name: str) -> None:
    assert not changes_training(name)
    assert sample_of({**PLAIN, name: 1}) == sample_of(PLAIN)


# Columns of other formats


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            ["prompt", "completion", "messages", "text"],
            r"choose prompt \+ completion or messages \(--data.columns.prompt prompt "
            r"--data.columns.completion completion or --data.columns.messages messages\)",
        ),
        (["prompt", "completion", "response"], "to use completion or response"),
        (["messages", "conversations"], "to use conversations or messages"),
        (["question", "answer", "answers"], r"to use answer or answers"),
        (["instruction", "input", "context", "output"], "to use context or input"),
        (["messages", "text"], r"messages would be read and text passed over; .*columns text\)"),
        (["text", "answer"], "text would be read and answer passed over"),
        (["prompt", "chosen", "rejected", "messages"], "to use messages or prompt"),
        (["prompt", "completion", "label", "segments"], "choose"),
        (["question", "answer", "output"], "passed over"),
    ],
)
def test_columns_of_two_formats_need_a_word(columns: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        detect_format(columns)
    assert "--ignore-columns" in str(caught.value)


def test_a_column_is_chosen_or_left_out() -> None:
    row = {**PLAIN, "messages": [{"role": "user", "content": "a"}]}
    left_out = sample_of(row, ignored=("messages",))
    data = DataConfig(source="x", columns=Columns(prompt="prompt", completion="completion"))
    chosen = to_sample(row, 3, choose_mapping(row, data), DEFAULT_TEMPLATE)
    assert left_out == chosen == sample_of(PLAIN)


def test_a_column_that_is_null_in_the_first_row_is_none_of_it() -> None:
    assert sample_of({**PLAIN, "messages": None}) == sample_of(PLAIN)
    null = {"prompt": "p", "completion": None}
    with pytest.raises(RejectedRowError, match="completion is null"):
        sample_of(null)


@pytest.mark.parametrize("name", ["messages", "response", "text", "chosen", "context"])
def test_a_later_row_with_more_to_learn_is_rejected(name: str) -> None:
    first = {"instruction": "i", "output": "o"}
    with pytest.raises(RejectedRowError, match=f"column {name} is not read and may be trained on"):
        sample_of({**first, name: "more"}, first=first)
    assert sample_of({**first, name: ""}, first=first) == sample_of(first)


def test_text_beside_a_prompt_and_an_answer_must_say_the_same() -> None:
    """The trainer may take it in their place, as SFTTrainer does for tatsu-lab/alpaca."""
    row = {"instruction": "i", "output": "o"}
    text = "".join(turn.text for turn in sample_of(row).turns)
    assert sample_of({**row, "text": text}) == sample_of(row)
    with pytest.raises(RejectedRowError, match="column text is not read and may be trained on"):
        sample_of({**row, "text": f"{text} and more"})


def test_names_of_columns_are_short_and_in_one_line_in_messages() -> None:
    names = ["a\nb", "x" * 1000, *(f"c{i}" for i in range(5000))]
    with pytest.raises(DataError) as caught:
        detect_format(names)
    assert "\n" not in str(caught.value)
    assert "a?b" in str(caught.value)
    assert len(str(caught.value)) < 1000


# Fields of messages


@pytest.mark.parametrize(
    ("field", "value", "is_target"),
    [
        *(("weight", 0, False), ("weight", 1, True), ("weight", 0.0, False)),
        *(("train", False, False), ("train", True, True), ("training", False, False)),
        *(("train_on_turn", False, False), ("loss", False, False), ("loss", True, True)),
        *(("loss_mask", 0, False), ("loss_mask", 1, True)),
        *(("loss_weight", 0.0, False), ("loss_weight", 1.0, True)),
        *(("masked", True, False), ("masked", False, True), ("weight", None, True)),
    ],
)
def test_a_masked_turn_is_no_target(field: str, value: object, is_target: bool) -> None:
    turns = sample_of(chat(**{field: value})).turns
    assert [turn.is_target for turn in turns] == [False, is_target, False, True]
    ignored = sample_of(chat(**{field: value}), ignored=(field,)).turns
    assert [turn.is_target for turn in ignored] == [False, True, False, True]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("weight", 0.5), ("weight", -1), ("weight", "0"), ("loss_mask", [0, 1]), ("loss", 0.3)),
        *(("mask", 1), ("label", 0), ("train_detail", []), ("loss_scale", 2.0), ("weights", 1)),
    ],
)
def test_a_field_of_a_message_that_is_not_understood_is_an_error(field: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"{field}.*--ignore-columns {field}"):
        sample_of(chat(**{field: value}))
    assert sample_of(chat(**{field: value}), ignored=(field,)) == sample_of(
        chat(), ignored=(field,)
    )


def test_fields_that_contradict_each_other_are_an_error() -> None:
    with pytest.raises(DataError, match="weight and train of a message contradict each other"):
        sample_of(chat(weight=0, train=True))
    assert sample_of(chat(weight=0, masked=True, train=False)).turns


def test_all_answers_masked_leave_nothing_to_learn() -> None:
    asked = {"role": "user", "content": "a"}
    with pytest.raises(RejectedRowError, match="no target"):
        sample_of({"messages": [asked, {"role": "assistant", "content": "b", "weight": 0}]})


def test_nobody_but_the_assistant_is_learnt() -> None:
    said = {"role": "assistant", "content": "b"}
    weighed = {"messages": [{"role": "user", "content": "a", "weight": 1}, said]}
    assert [turn.is_target for turn in sample_of(weighed).turns] == [False, True]
    for name in ("train", "loss_weight"):
        asked = {"role": "user", "content": "a", name: True}
        with pytest.raises(RejectedRowError, match="another role than assistant is to be learnt"):
            sample_of({"messages": [asked, said]})


def test_a_segment_that_says_more_is_an_error() -> None:
    with pytest.raises(DataError, match="a segment has weight, which changes what is trained"):
        sample_of({"segments": [{"label": True, "text": "a", "weight": 2}]})
