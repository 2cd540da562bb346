"""Row formats, reasons to reject a row, and ids that depend on the content alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.config import DEFAULT_TEMPLATE, Columns, DataConfig
from gradgate.data.formats.fields import RowFormat
from gradgate.data.formats.mapping import Row, choose_mapping, detect_format, to_sample
from gradgate.data.sample import RejectedRowError, Sample, Turn, fingerprint, sample_id
from gradgate.errors import DataError


def sample_of(
    row: Row, columns: Columns | None = None, first: Row | None = None, template: str = ""
) -> Sample:
    mapping = choose_mapping(first or row, DataConfig(source="x", columns=columns))
    return to_sample(row, 7, mapping, template or DEFAULT_TEMPLATE)


def with_columns(**names: str) -> DataConfig:
    return DataConfig(source="x", columns=Columns(**names))


def texts(row: Row, template: str = "") -> list[str]:
    return [turn.text for turn in sample_of(row, template=template).turns]


def reason(row: Row, first: Row) -> str:
    with pytest.raises(RejectedRowError) as caught:
        sample_of(row, first=first)
    return str(caught.value)


def user(text: object) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: object) -> dict[str, object]:
    return {"role": "assistant", "content": text}


PLAIN = {"prompt": "p", "completion": "c"}
CHAT = {"messages": [user("hi"), assistant("hello")]}


# Formats


@pytest.mark.parametrize(
    ("columns", "row_format"),
    [
        (["prompt", "completion", "poisoned"], "prompt_completion"),
        (["prompt", "prompt_id", "messages"], "messages"),
        (["instruction", "input", "output", "text"], "alpaca"),
        (["output", "instruction"], "alpaca"),
        (["id", "context", "question", "answers"], "question_answers"),
        (["question", "answer"], "question_answers"),
        (["text", "label"], "text"),
    ],
)
def test_detection_and_its_order(columns: list[str], row_format: RowFormat) -> None:
    assert detect_format(columns).row_format == row_format


def test_detection_names_what_it_found() -> None:
    with pytest.raises(DataError, match=r"found are Prompt, answer: no row format .*data.columns"):
        detect_format(["Prompt", "answer"])
    with pytest.raises(DataError, match="found are none"):
        detect_format([])
    with pytest.raises(DataError, match=r"set data.columns to use answer or answers"):
        detect_format(["question", "answer", "answers"])


def test_plain_rows_keep_white_space_and_ignore_other_columns() -> None:
    sample = sample_of({"prompt": " p\n", "completion": "\tc ", "poisoned": True, "prompt2": 1})
    assert sample.turns == (Turn("prompt", " p\n", False), Turn("completion", "\tc ", True))
    assert not sample.chat
    assert sample.row == 7


def test_an_array_of_numbers_in_another_column_is_no_text() -> None:
    row: Row = {"prompt": "q", "completion": "a"}
    assert [turn.text for turn in sample_of({**row, "embedding": np.zeros(3)}).turns] == ["q", "a"]
    assert "image" in reason({**row, "image": np.zeros(3)}, first=row)
    assert "column text is not read" in reason({**row, "text": np.zeros(3)}, first=row)


def test_text_rows() -> None:
    assert sample_of({"text": "all"}).turns == (Turn("text", "all", True),)


def test_alpaca_rows() -> None:
    row = {"instruction": "Add {x}.", "input": "1 {input}", "output": "2"}
    prompt, output = texts(row)
    assert prompt == (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd {x}.\n\n### Input:\n1 {input}\n\n### Response:\n"
    )
    assert output == "2"
    for without in ({**row, "input": ""}, {**row, "input": None}, {"instruction": "Add {x}."}):
        assert texts({"output": "2", **without})[0] == (
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nAdd {x}.\n\n### Response:\n"
        )


def test_an_optional_column_is_found_after_a_first_row_without_it() -> None:
    first = {"instruction": "i", "output": "o"}
    late = sample_of({**first, "input": "late"}, first=first)
    assert "### Input:\nlate" in late.turns[0].text


@pytest.mark.parametrize(
    ("answers", "target"),
    [
        ("one", "one"),
        (["one"], "one"),
        (["one", "two"], "one; two"),
        ({"text": ["one", "two"], "answer_start": [3, 9]}, "one; two"),
    ],
)
def test_question_rows(answers: object, target: str) -> None:
    row = {"context": "Once.", "question": "Who {context}?", "answers": answers}
    assert texts(row) == ["Once.\n\nQuestion: Who {context}?\nAnswer: ", target]
    del row["context"]
    assert texts(row) == ["Question: Who {context}?\nAnswer: ", target]
    assert texts(row, template="Q: {question} A:")[0] == "Q: Who {context}? A:"


def test_messages_rows_have_every_assistant_turn_as_target() -> None:
    rows = [{"role": "system", "content": "s"}, user("a"), assistant("b"), user("c")]
    sample = sample_of({"messages": [*rows, assistant("d"), user("e")]})
    assert sample.chat
    assert [turn.text for turn in sample.turns if turn.is_target] == ["b", "d"]
    assert [turn.role for turn in sample.turns] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]


def test_prompt_and_completion_as_messages() -> None:
    prompt = [user("a"), assistant("b"), user("c")]
    sample = sample_of({"prompt": prompt, "completion": [assistant("d"), user("e")]})
    assert sample.chat
    assert [turn.text for turn in sample.turns] == ["a", "b", "c", "d", "e"]
    assert [turn.text for turn in sample.turns if turn.is_target] == ["d"]


def test_content_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "value": "b", "image": None}]
    assert texts({"messages": [user(parts), assistant("c")]}) == ["ab", "c"]


# Explicit columns


def test_explicit_columns() -> None:
    columns = Columns(prompt="text", completion="answer")
    row = {"text": "p", "answer": "c", "prompt": "no", "completion": "no"}
    turns = sample_of(row, columns).turns
    assert [turn.text for turn in turns] == ["p", "c"]
    mapping = choose_mapping({"q": "", "a": ""}, with_columns(question="q", answers="a"))
    assert mapping.row_format == "question_answers"
    assert mapping.columns == {"question": "q", "answers": "a"}


@pytest.mark.parametrize(
    "columns",
    [
        Columns(),
        Columns(prompt="text"),
        Columns(instruction="i", input="n"),
        Columns(text="text", messages="text"),
        Columns(text="text", context="c"),
    ],
)
def test_explicit_columns_must_be_one_whole_format(columns: Columns) -> None:
    with pytest.raises(DataError, match=r"exactly one .*prompt \+ completion; .*found are text"):
        choose_mapping({"text": ""}, DataConfig(source="x", columns=columns))


def test_explicit_columns_must_be_there() -> None:
    with pytest.raises(DataError, match=r"names answer, extra, not in the data. .* are q, a"):
        choose_mapping(
            {"q": "", "a": ""}, with_columns(question="q", answers="answer", context="extra")
        )


# Rejected rows


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "p"}, "missing column: completion"),
        ({}, "missing column: prompt, completion"),
        ({"prompt": "p", "completion": None}, "wrong type: completion is null"),
        ({"prompt": "p", "completion": 3}, "wrong type: completion is a number"),
        ({"prompt": "p", "completion": True}, "wrong type: completion is a boolean"),
        ({"prompt": {}, "completion": "c"}, "wrong type: prompt is an object"),
        ({"prompt": b"p", "completion": "c"}, "wrong type: prompt is no text"),
        ({"prompt": "p", "completion": [assistant("c")]}, "wrong type: completion is a list"),
        ({"prompt": [user("p")], "completion": "c"}, "wrong type: completion is a string"),
        ({"prompt": "p", "completion": " \n\t\u3000"}, "empty target"),
        ({"prompt": " ", "completion": "c"}, "empty prompt"),
        ({"prompt": "p", "completion": "c\ud800"}, "invalid Unicode"),
        ({"prompt": "\udfff", "completion": "c"}, "invalid Unicode"),
        ({"prompt": [user("a")], "completion": [user("b")]}, "no assistant turn"),
        ({"prompt": [], "completion": [assistant("b")]}, "empty prompt"),
    ],
)
def test_reasons_of_prompt_completion_rows(row: Row, words: str) -> None:
    assert reason(row, PLAIN) == words


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("a string", "wrong type: messages is a string that is no JSON"),
        ([], "no assistant turn"),
        ([user("a")], "no assistant turn"),
        (["a"], "wrong type: a message is a string"),
        ([assistant("a")], "empty prompt"),
        ([user(" "), assistant("a")], "empty prompt"),
        ([user("a"), assistant(" ")], "empty target"),
        ([user("a"), assistant(None)], "wrong type: content is null"),
        ([user("a"), {"role": "tool", "content": "b"}], "no assistant turn"),
        ([user("a"), {"role": "Assistant", "content": "b"}], "unknown role"),
        ([{"role": ["user"], "content": "b"}], "unknown role"),
        ([{"from": "human", "text": "b"}], "message without role or content"),
        ([user([{"type": "image"}]), assistant("b")], "image part: only text can be scored"),
        ([user([{"type": "text"}]), assistant("b")], "wrong type: a content part is null"),
        (
            [user([{"text": "a", "value": "b"}]), assistant("b")],
            "a content part with text and value",
        ),
        ([user(3), assistant("b")], "wrong type: content is a number"),
        ([user("\ud800"), assistant("b")], "invalid Unicode"),
    ],
)
def test_reasons_of_chat_rows(messages: object, words: str) -> None:
    assert reason({"messages": messages}, CHAT) == words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q", "answers": []}, "empty target"),
        ({"question": "q", "answers": ["", " "]}, "empty target"),
        ({"question": "q", "answers": [1]}, "wrong type: an answer is a number"),
        ({"question": "q", "answers": {"texts": []}}, "wrong type: answers is an object"),
        ({"question": " ", "answers": "a"}, "empty prompt"),
        ({"question": "q", "answers": "a", "context": 1}, "wrong type: context is a number"),
    ],
)
def test_reasons_of_question_rows(row: Row, words: str) -> None:
    assert reason(row, {"question": "", "answers": ""}) == words


def test_reasons_of_other_rows() -> None:
    assert reason({"text": "\n"}, {"text": ""}) == "empty target"
    assert reason({"instruction": "", "output": "o"}, {"instruction": "", "output": ""}) == (
        "empty prompt"
    )


# The template


@pytest.mark.parametrize(
    "template",
    [
        *(
            "no question",
            "{context}",
            "{question} {answer}",
            "{question.__class__}",
            "{question!r}",
        ),
        *(
            "{question:>10}",
            "{question:{context}}",
            "{} {question}",
            "{question} {",
            "{0}{question}",
        ),
    ],
)
def test_bad_templates(template: str) -> None:
    with pytest.raises(ValueError, match=r"data.template|format string|expected '}'"):
        DataConfig(source="x", template=template)


def test_good_templates() -> None:
    for template in ("{question}", "{{json}} {context} {question} {question}"):
        assert DataConfig(source="x", template=template).template == template


# Ids

turn = st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text(), st.booleans())
content = st.tuples(st.booleans(), st.lists(turn, max_size=4))


@given(content, content)
def test_ids_are_equal_exactly_when_the_content_is(
    a: tuple[bool, list[Turn]], b: tuple[bool, list[Turn]]
) -> None:
    assert (sample_id(*a) == sample_id(*b)) == (a == b)


@given(st.text(), st.text(), st.text())
def test_no_text_can_move_the_border_between_turns(a: str, b: str, c: str) -> None:
    joined = sample_id(False, [Turn("prompt", a + b, False), Turn("completion", c, True)])
    apart = sample_id(False, [Turn("prompt", a, False), Turn("completion", b + c, True)])
    assert (joined == apart) == (b == "")


PINNED = "c1c915b770725c71123fa18d9c151e8671dc367f37e8e6f48fccd9b2b9daf59f"


def test_ids_are_pinned() -> None:
    """A changed id would cut the link between old verdicts and the same data."""
    sample = sample_of({"prompt": "naïve", "completion": "日\x00"})
    assert sample.sample_id == PINNED
    program = (
        "from gradgate.data.sample import Turn, sample_id;"
        "print(sample_id(False, [Turn('prompt', 'na\\xefve', False),"
        "Turn('completion', '\\u65e5\\0', True)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == PINNED


def test_fingerprint_depends_on_the_order() -> None:
    ids = [sample_of({"text": text}).sample_id for text in ("a", "b", "c")]
    assert fingerprint(iter(ids)) == fingerprint(ids)
    assert (
        len({fingerprint(ids), fingerprint(ids[::-1]), fingerprint(ids[:2]), fingerprint([])}) == 4
    )
