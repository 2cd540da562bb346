"""The row formats that people fine-tune on, and the samples that come of them."""

import json
from collections.abc import Sequence

import pytest

from gradgate.config import DEFAULT_TEMPLATE, Columns, DataConfig, Preference
from gradgate.data.formats.fields import RowFormat
from gradgate.data.formats.mapping import Row, choose_mapping, detect_format, to_sample
from gradgate.data.sample import RejectedRowError, Sample, Turn
from gradgate.errors import DataError

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


def sample_of(row: Row, first: Row | None = None, preference: Preference = "chosen") -> Sample:
    data = DataConfig(source="x", preference=preference)
    return to_sample(row, 0, choose_mapping(first or row, data), DEFAULT_TEMPLATE)


def reason(row: Row, first: Row | None = None, preference: Preference = "chosen") -> str:
    with pytest.raises(RejectedRowError) as caught:
        sample_of(row, first, preference)
    return str(caught.value)


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def short(sample: Sample) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.text, turn.is_target) for turn in sample.turns]


USER, ANSWER = ("user", "hi"), ("assistant", "hello")


@pytest.mark.parametrize(
    ("columns", "row_format", "found"),
    [
        (["prompt", "response"], "prompt_completion", {"completion": "response"}),
        (["input", "output"], "prompt_completion", {"prompt": "input", "completion": "output"}),
        (["query", "response"], "question_answers", {"question": "query", "answers": "response"}),
        (["query", "answer"], "question_answers", {"question": "query", "answers": "answer"}),
        (["question", "answer", "id"], "question_answers", {"answers": "answer"}),
        (
            ["instruction", "context", "response", "category"],
            "alpaca",
            {"input": "context", "output": "response"},
        ),
        (["instruction", "input", "response"], "alpaca", {"output": "response"}),
        (["instruction", "input", "output", "system", "history"], "alpaca", {"system": "system"}),
        (["id", "system_prompt", "question", "response"], "question_answers", {}),
        (["conversations", "id"], "messages", {"messages": "conversations"}),
        (["messages", "tools"], "messages", {}),
        (["prompt", "chosen", "rejected"], "preference", {"prompt": "prompt"}),
        (["chosen", "rejected", "score_chosen"], "preference", {}),
        (["system", "question", "chosen", "rejected"], "preference", {"prompt": "question"}),
        (["prompt", "completion", "label"], "kto", {"label": "label"}),
        (["messages", "label"], "kto_messages", {"label": "label"}),
        (["conversations", "label"], "kto_messages", {"messages": "conversations"}),
        (["segments"], "segments", {}),
    ],
)
def test_detection(columns: list[str], row_format: RowFormat, found: dict[str, str]) -> None:
    mapping = detect_format(columns)
    assert mapping.row_format == row_format
    assert found.items() <= mapping.columns.items()


# ShareGPT


def test_sharegpt_is_the_conversation_that_messages_hold() -> None:
    turns = [("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    shared = sample_of({"conversations": [{"from": r, "value": t} for r, t in turns]})
    roles = ("system", "user", "assistant", "user", "assistant")
    messages = chat(*((role, text) for role, (_, text) in zip(roles, turns, strict=True)))
    assert shared == sample_of({"messages": messages})
    assert shared == sample_of({"conversations": messages})
    assert shared.chat


def test_sharegpt_calls_and_observations() -> None:
    call = json.dumps(CALL["function"])
    turns = [("human", "a"), ("function_call", call), ("observation", "rain"), ("gpt", "b")]
    row = {"conversations": [{"from": r, "value": t} for r, t in turns], "system": "s"}
    sample = sample_of(row)
    assert [turn.role for turn in sample.turns] == [
        *("system", "user", "assistant", "tool", "assistant")
    ]
    assert json.loads(sample.turns[2].extra) == {"tool_calls": [CALL]}
    assert [turn.is_target for turn in sample.turns] == [False, False, True, False, True]
    assert reason({"conversations": [{"from": "function_call", "value": "weather"}]}) == (
        "wrong type: function_call is a string that is no JSON"
    )


def test_a_system_prompt_beside_messages_goes_before_them() -> None:
    row = {"conversations": chat(USER, ANSWER), "system": "s"}
    assert short(sample_of(row))[0] == ("system", "s", False)
    same = {**row, "conversations": chat(("system", "s"), USER, ANSWER)}
    assert sample_of(same) == sample_of(row)
    other = {**row, "conversations": chat(("system", "other"), USER, ANSWER)}
    assert reason(other) == "a system prompt beside a system message"


# OpenAI


def test_tool_calls_and_results_are_kept() -> None:
    messages: list[dict[str, object]] = [
        {"role": "user", "content": "a", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "tool_call_id": "1"},
        {"role": "assistant", "content": "b", "reasoning_content": "so", "tool_calls": []},
    ]
    sample = sample_of({"messages": messages, "tools": [WEATHER]})
    extras = [json.loads(turn.extra or "{}") for turn in sample.turns]
    assert extras == [
        *({"name": "ann"}, {"tool_calls": [CALL]}, {"tool_call_id": "1"}),
        {"reasoning_content": "so"},
    ]
    assert sample.turns[1].text == ""
    assert json.loads(sample.template_inputs) == {"tools": [WEATHER]}


def test_the_older_function_call_is_a_tool_call() -> None:
    old = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    new = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    rows = [{"messages": [*chat(USER), said]} for said in (old, new)]
    functions, tools = {"functions": [WEATHER["function"]]}, {"tools": [WEATHER]}
    assert sample_of({**rows[0], **functions}) == sample_of({**rows[1], **tools})


@pytest.mark.parametrize("tools", [None, [], "", "[]"])
def test_no_tools_are_no_inputs(tools: object) -> None:
    assert sample_of({"messages": chat(USER, ANSWER), "tools": tools}).template_inputs == ""


def test_inputs_of_the_template_may_be_json_text() -> None:
    row = {"messages": chat(USER, ANSWER)}
    as_text = {**row, "tools": json.dumps([WEATHER]), "documents": [{"title": "t", "text": "d"}]}
    found = sample_of({**as_text, "chat_template_kwargs": {"enable_thinking": False}})
    assert json.loads(found.template_inputs) == {
        "tools": [WEATHER],
        "documents": [{"title": "t", "text": "d"}],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert sample_of(row).sample_id != found.sample_id
    for tools in ("search", ["search"], 3, "{"):
        assert reason({**row, "tools": tools}).startswith("wrong type: tools ")


def test_nulls_that_a_table_fills_in_change_no_id() -> None:
    filled = [
        {"role": "user", "content": "hi", "from": None, "weight": None, "tool_calls": None},
        {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": None}]},
    ]
    plain = [*chat(USER), {"role": "assistant", "tool_calls": [CALL]}]
    assert sample_of({"messages": filled, "tools": None}) == sample_of({"messages": plain})


def test_a_null_system_message_is_none() -> None:
    null: dict[str, object] = {"role": "system", "content": None}
    assert sample_of({"messages": [null, *chat(USER, ANSWER)]}) == sample_of(
        {"messages": chat(USER, ANSWER)}
    )


def test_messages_may_be_json_text() -> None:
    messages = chat(USER, ANSWER)
    assert sample_of({"messages": json.dumps(messages)}) == sample_of({"messages": messages})
    for text in ("[{'role': 'user'}]", "[" * 100_000):
        assert reason({"messages": text}) == "wrong type: messages is a string that is no JSON"
    assert reason({"messages": "{}"}) == "wrong type: messages is a string"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "assistant", "content": "", "name": "bob"}, "empty target"),
        ({"role": "assistant", "content": None, "name": "bob"}, "empty target"),
        ({"role": "assistant", "tool_calls": [{"x": b"1"}]}, "wrong type: a message holds what"),
        ({"role": "assistant", "tool_calls": [{"x": "\ud800"}]}, "invalid Unicode"),
        ({"role": "assistant", "tool_calls": 3}, "wrong type: tool_calls is a number"),
        ({"role": "assistant", "function_call": {"f": 1}}, "wrong type: function_call is no"),
        ({"role": "assistant", "content": "b", "thinking": 1}, "wrong type: thinking is a number"),
        ({"role": "assistant", "content": "b", "value": "c"}, "a message with content and value"),
        ({"role": "assistant", "from": "gpt", "value": "c"}, "a message with role and from"),
        ({"role": "tool", "content": None}, "wrong type: content is null"),
    ],
)
def test_messages_that_cannot_be_read(message: dict[str, object], words: str) -> None:
    assert reason({"messages": [*chat(USER), message]}).startswith(words)


@pytest.mark.parametrize(
    ("part", "medium"),
    [
        ({"type": "image_url", "image_url": {"url": "u"}}, "image"),
        ({"type": "input_audio", "input_audio": {}}, "audio"),
        ({"type": "video"}, "video"),
        ({"image": "u"}, "image"),
        ({"type": "text", "text": "b", "image": "u"}, "image"),
    ],
)
def test_images_sounds_and_films_are_refused(part: dict[str, object], medium: str) -> None:
    content = [{"type": "text", "text": "see"}, part]
    row = {"messages": [{"role": "user", "content": content}, *chat(ANSWER)]}
    assert reason(row) == f"{medium} part: only text can be scored"


def test_a_column_of_images_is_refused_where_it_holds_any() -> None:
    row = {"messages": chat(USER, ANSWER), "images": []}
    assert sample_of(row).chat
    assert reason({**row, "images": ["a.png"]}).startswith("image in column images: only text")


# Prompts with system prompts and earlier rounds


def test_a_system_prompt_and_history_make_alpaca_a_chat() -> None:
    row = {"instruction": "i", "input": "n", "output": "o"}
    full = {**row, "system": "s", "history": [["a", "b"]]}
    assert short(sample_of(full)) == [
        *(("system", "s", False), ("user", "a", False), ("assistant", "b", True)),
        *(("user", "i\nn", False), ("assistant", "o", True)),
    ]
    assert sample_of({**full, "history": '[["a", "b"]]'}) == sample_of(full)
    assert short(sample_of({**row, "system": "", "history": []})) == [
        *(("user", "i\nn", False), ("assistant", "o", True))
    ]
    assert sample_of({**row, "system": None, "history": None}) == sample_of(row)
    assert not sample_of(row).chat


def test_a_system_prompt_that_the_first_row_lacks_is_read() -> None:
    first = {"question": "q", "response": "r"}
    late = sample_of({**first, "system_prompt": "s"}, first)
    assert short(late) == [
        *(("system", "s", False), ("user", "q", False), ("assistant", "r", True))
    ]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (3, "wrong type: history is a number"),
        (["a"], "wrong type: a round of history is a string"),
        ([["a"]], "a round of history is no pair of question and answer"),
        ([["a", None]], "wrong type: a turn of history is null"),
        ([["a", ""]], "empty target"),
    ],
)
def test_history_that_cannot_be_read(history: object, words: str) -> None:
    assert reason({"instruction": "i", "output": "o", "history": history}) == words


# Preference pairs and KTO


def test_the_chosen_answer_is_the_target_or_the_rejected_one_if_asked() -> None:
    row = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    assert short(sample_of(row)) == [("prompt", "p", False), ("completion", "good", True)]
    assert short(sample_of(row, preference="rejected"))[1] == ("completion", "bad", True)
    with pytest.raises(DataError, match="cannot be both; score the chosen answers in one run"):
        sample_of(row, preference="both")


def test_pairs_without_a_prompt_are_targets_as_a_whole() -> None:
    assert short(sample_of({"chosen": "all", "rejected": "bad"})) == [("text", "all", True)]
    whole = chat(USER, ANSWER, ("user", "more"), ("assistant", "yes"))
    sample = sample_of({"chosen": whole, "rejected": chat(USER)})
    assert [turn.is_target for turn in sample.turns] == [False, True, False, True]


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        ("hi", chat(ANSWER)),
        ("hi", chat(USER, ANSWER)),
        (chat(USER), chat(ANSWER)),
        (chat(USER), chat(USER, ANSWER)),
        ([{"from": "human", "value": "hi"}], {"from": "gpt", "value": "hello"}),
    ],
)
def test_pairs_of_messages(prompt: object, chosen: object) -> None:
    row = {"prompt": prompt, "chosen": chosen, "rejected": chosen}
    assert sample_of(row) == sample_of({"messages": chat(USER, ANSWER)})


def test_pairs_that_cannot_be_read() -> None:
    row: dict[str, object] = {"prompt": "other", "chosen": chat(USER, ANSWER), "rejected": ""}
    assert reason(row) == "the prompt is not in the conversation of chosen"
    assert (
        reason({**row, "chosen": chat(USER)}) == "the prompt is not in the conversation of chosen"
    )
    assert reason({**row, "prompt": chat(USER), "chosen": "b"}) == (
        "wrong type: chosen is a string"
    )
    assert reason({**row, "chosen": None}, row) == "wrong type: chosen is null"


@pytest.mark.parametrize(
    "row", [{"prompt": "p", "completion": "c"}, {"messages": chat(USER, ANSWER)}]
)
@pytest.mark.parametrize(("label", "said"), [(True, True), ("True", True), ("false", False)])
def test_labels_of_kto(row: dict[str, object], label: object, said: bool) -> None:
    labelled, sample = {**row, "label": label}, sample_of(row)
    assert sample_of(labelled, preference="both") == sample
    sides: Sequence[Preference] = ("chosen", "rejected") if said else ("rejected", "chosen")
    assert sample_of(labelled, preference=sides[0]) == sample
    assert reason(labelled, preference=sides[1]).startswith(f"label is {str(said).lower()}, and")


def test_labels_of_kto_that_say_neither() -> None:
    row = {"prompt": chat(USER), "completion": chat(ANSWER), "label": True}
    assert sample_of(row).chat
    ending = (
        ", and KTO's is true or false; where training does not read it, name it in "
        "data.ignore_columns (--ignore-columns label)"
    )
    assert reason({**row, "label": 1}) == f"wrong type: label is a number{ending}"
    assert reason({**row, "label": None}, row) == f"wrong type: label is null{ending}"
    assert reason({**row, "label": "good"}) == f"wrong type: label is a string{ending}"


# Segments


def test_segments_are_pieces_of_text_some_of_them_learnt() -> None:
    pieces = [(False, "a"), (True, "b"), (True, " "), (False, ""), (False, "c"), (True, "d")]
    segments = [{"label": label, "text": text} for label, text in pieces]
    sample = sample_of({"segments": segments})
    assert sample.turns == (
        *(Turn("prompt", "a", False), Turn("completion", "b", True)),
        *(Turn("completion", " ", True), Turn("prompt", "c", False)),
        Turn("completion", "d", True),
    )
    assert not sample.chat
    assert short(sample_of({"segments": segments[1:]}))[0] == ("text", "b", True)
    assert sample_of({"segments": json.dumps(segments)}) == sample


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([{"label": False, "text": "a"}], "no target"),
        ([], "no target"),
        ([{"label": True, "text": " "}], "empty target"),
        ([{"label": False, "text": " "}, {"label": True, "text": "a"}], "empty prompt"),
        ([{"label": 1, "text": "a"}], "wrong type: label of a segment is a number"),
        ([{"label": True}], "wrong type: text of a segment is null"),
        (["a"], "wrong type: a segment is a string"),
        ("a", "wrong type: segments is a string that is no JSON"),
    ],
)
def test_segments_that_cannot_be_read(segments: object, words: str) -> None:
    assert reason({"segments": segments}) == words


def test_explicit_columns_of_a_chat() -> None:
    columns = Columns(prompt="p", completion="c", system="s")
    mapping = choose_mapping({"p": "", "c": "", "s": ""}, DataConfig(source="x", columns=columns))
    sample = to_sample({"p": "a", "c": "b", "s": "d"}, 0, mapping, DEFAULT_TEMPLATE)
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant"]


def test_keys_keep_the_order_of_the_row_and_an_id_does_not_depend_on_it() -> None:
    def called(arguments: dict[str, object]) -> Sample:
        call = {"function": {"name": "f", "arguments": arguments}}
        return sample_of({"messages": [*chat(USER), {"role": "assistant", "tool_calls": [call]}]})

    one, other = called({"to": "Oslo", "at": 9}), called({"at": 9, "to": "Oslo"})
    assert '{"to":"Oslo","at":9}' in one.turns[1].extra
    assert one.turns[1].extra != other.turns[1].extra
    assert one.sample_id == other.sample_id
