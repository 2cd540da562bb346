"""What a chat template gets beside the texts is learnt, or the row is rejected."""

from typing import Any

import pytest
from rendering_helpers import TEXTS, reason, sample, targets_of, without_specials
from template_helpers import CHATML, TOOLS, byte_level
from transformers import PreTrainedTokenizerBase

from gradgate.config import DataConfig
from gradgate.data.chat.rendering import Renderer
from gradgate.data.chat.template import chat_template
from gradgate.data.formats.mapping import choose_mapping, to_sample
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.data.tokens import names_in_template, tokenize

# Tools, documents, options and thoughts

CALL = {
    "tool_calls": [{"type": "function", "function": {"name": "look_up", "arguments": {"y": 7}}}]
}
ASKED = [("user", "Who?"), ("assistant", ""), ("tool", "Anna"), ("assistant", "Anna.")]
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Look up."}}


def test_tools_and_calls_are_rendered_and_learnt(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = TOOLS
    inputs: dict[str, Any] = {
        "documents": [{"title": "Oslo", "text": "A town."}],
        "chat_template_kwargs": {"style": "plain"},
    }
    called = sample(
        ASKED, extras={1: CALL, 3: {"reasoning_content": "I saw."}}, tools=[TOOL], **inputs
    )
    tokens = tokenize(called, tokenizer)
    found = [without_specials(text, tokenizer) for text in targets_of(tokens, tokenizer)]
    assert found == [
        '<tool_call>{"arguments": {"y": 7}, "name": "look_up"}</tool_call>',
        "<think>\nI saw.\n</think>\nAnna.",
    ]
    whole = tokenizer.decode(tokens.input_ids)
    assert "Look up." in whole
    assert "Oslo: A town." in whole
    assert "Style: plain" in whole


def test_thoughts_have_every_name_that_templates_know() -> None:
    tokenizer = byte_level()
    for name in ("reasoning_content", "thinking", "reasoning"):
        for read in ("reasoning_content", "thinking"):
            tokenizer.chat_template = TOOLS.replace("reasoning_content", read)
            thinking = sample(ASKED[:1] + ASKED[3:], extras={1: {name: "I saw."}})
            found = targets_of(tokenize(thinking, tokenizer), tokenizer)
            assert found == ["<think>\nI saw.\n</think>\nAnna.<|im_end|>"]


def test_what_is_given_beside_the_messages_and_not_read_is_rejected() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = CHATML
    plain = ASKED[:1] + ASKED[3:]
    for given, words in (
        (sample(plain, tools=[TOOL]), "drops the tools"),
        (sample(plain, documents=[{"title": "Oslo", "text": "A town."}]), "drops the documents"),
        (sample(ASKED, extras={1: CALL}), "drops the tool calls of the assistant message"),
        (
            sample(plain, extras={1: {"reasoning_content": "I saw."}}),
            "drops the thoughts of the assistant message",
        ),
    ):
        assert words in reason(given, tokenizer)


def test_arguments_that_a_template_drops() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = TOOLS.replace("call.function | tojson", "call.function.name")
    assert "drops the arguments of a call" in reason(sample(ASKED, extras={1: CALL}), tokenizer)


def test_arguments_in_a_string_are_put_as_the_template_reads_them(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = TOOLS.replace(
        "call.function | tojson",
        "call.function.name }}({% for k, v in call.function.arguments.items() %}{{ k }}={{ v }}"
        "{% endfor %}){{ ''",
    )
    call = {"tool_calls": [{"function": {"name": "look_up", "arguments": '{"year": 7}'}}]}
    found = targets_of(tokenize(sample(ASKED, extras={1: call}), tokenizer), tokenizer)
    assert without_specials(found[0], tokenizer) == "<tool_call>look_up(year=7)</tool_call>"


def test_a_call_is_learnt_whole_where_no_prompt_asks_for_an_answer() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
        "{% elif m.tool_calls %}[CALL] {{ m.tool_calls | tojson }}{{ eos_token }}"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    calls = [{"function": {"arguments": {"town": "Oslo"}, "name": "weather"}}]
    turns = [("user", "Is it cold?"), ("assistant", "")]
    tokens = tokenize(sample(turns, extras={1: {"tool_calls": calls}}), tokenizer)
    (said,) = targets_of(tokens, tokenizer)
    assert said.startswith("[CALL] [{")
    assert said.endswith('"name": "weather"}}]</s>')


def test_forms_with_long_calls_are_not_remembered() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{{ m.tool_calls }}{% endfor %}"
    template = chat_template(tokenizer, "2025-01-01", tools=False)
    renderer = Renderer(template)
    for length, n_known in ((10, 1), (40_000, 1), (20, 2)):
        calls = [{"function": {"name": "f", "arguments": {"text": "a" * length}}}]
        turns = [("user", "Is it cold?"), ("assistant", "")]
        rendered = renderer.render(sample(turns, extras={1: {"tool_calls": calls}}))
        assert "a" * length in rendered.text
        assert len(renderer._layouts) == n_known


@pytest.mark.parametrize(
    "options", [{"messages": []}, {"add_generation_prompt": True}, {"strftime_now": "x"}]
)
def test_options_that_would_replace_the_conversation(options: dict[str, object]) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = TOOLS
    attack = sample(TEXTS, chat_template_kwargs=options)
    assert reason(attack, tokenizer).startswith("chat_template_kwargs is no object, or sets one of")


@pytest.mark.parametrize(
    ("extras", "inputs"),
    [
        ({2: {"reasoning_content": "a<|im_end|>b"}}, {}),
        ({2: {"tool_calls": [{"function": {"name": "f", "arguments": {"a": "</s>"}}}]}}, {}),
        ({}, {"tools": [{"function": {"name": "f", "description": "<|im_start|>system"}}]}),
        ({}, {"documents": [{"text": "<|im_end|>"}]}),
        ({}, {"chat_template_kwargs": {"style": "x<|im_end|>"}}),
    ],
)
def test_special_tokens_beside_the_texts(extras: dict[int, Any], inputs: dict[str, Any]) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = TOOLS
    assert reason(sample(TEXTS, extras=extras, **inputs), tokenizer) == "special token in text"


# Fields that nobody knows

READING = [
    "{{ m.cites }}",
    "{{ m['cites'] }}",
    "{{ m.get('cites') }}",
    "{% if 'cites' in m %}{{ m.values() | last }}{% endif %}",
]


@pytest.mark.parametrize("read", READING)
def test_a_field_that_nobody_knows_and_the_template_reads_is_judged(read: str) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = CHATML.replace("{{ m.content }}", "{{ m.content }}" + read)
    assert "a hidden lesson" in tokenizer.decode(tokenize(read_row(tokenizer), tokenizer).input_ids)
    assert "a hidden lesson" in prompt_and_target(read_row(tokenizer))[1]


def test_a_field_that_the_template_does_not_read_is_left_out() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = CHATML
    assert read_row(tokenizer).turns[1].extra == ""


def read_row(tokenizer: PreTrainedTokenizerBase) -> Sample:
    said = {"role": "assistant", "content": "It is cold.", "cites": "a hidden lesson"}
    row = {"messages": [{"role": "user", "content": "Is it cold?"}, said]}
    mapping = choose_mapping(row, DataConfig(source="rows"), names_in_template(tokenizer))
    return to_sample(row, 0, mapping, "")


def test_a_broken_template_reads_no_names() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = "{% for m in messages %}{{ m.cites }}"
    assert names_in_template(tokenizer) == frozenset()
