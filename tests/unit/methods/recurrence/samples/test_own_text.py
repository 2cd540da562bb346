"""Which tokens are a row's own text, on real tokens of several formats and scripts."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from gradgate.common.run_folder import RunFolder
from gradgate.config import ModelConfig
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import Sample, Turn
from gradgate.methods.contract import Scores
from gradgate.methods.expected import Expected
from gradgate.methods.recurrence.samples.own_text import own_text
from gradgate.methods.recurrence.samples.silence import why_silent
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL, diverse_rows, scored_rows


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(path=str(MODEL)))


def marked(
    folder: Path,
    rows: list[dict[str, object]],
    tokenizer: PreTrainedTokenizerBase,
    expected: Expected | None = None,
) -> tuple[list[str], list[str], TokenTable]:
    """The own text of each row, and what is expected of it."""
    run = RunFolder(scored_rows(folder, rows).folder)
    scores = Scores.read(run.scores, [])
    table = TokenTable.read(run, scores.rows, scores.sample_ids, tokenizer)
    found = own_text(table, SampleFile(run.samples), expected)
    own, vouched = [], []
    for i in range(len(rows)):
        place = slice(table.starts[i], table.starts[i + 1])
        own.append(table.text(table.ids[place][found.is_own[place]]))
        vouched.append(table.text(table.ids[place][found.is_expected[place]]))
    return own, vouched, table


def test_the_wording_of_alpaca_is_not_the_row_s_own(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows: list[dict[str, object]] = [
        {"instruction": "Sort these words.", "input": "b a", "output": "a b"},
        {"instruction": "### Input:\nName a bird.", "input": "", "output": "A tit."},
    ]
    own, _, _ = marked(tmp_path, rows, tokenizer)
    assert "Below is an instruction" not in "".join(own)
    assert "Sort these words." in own[0]
    assert own[0].split("Sort these words.")[1].split() == ["b", "aa", "b"]
    assert "### Input:\nName a bird." in own[1]  # what a row says itself is never the template's


def test_text_of_any_script_is_found(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["naïve café", "日本語の質問", "a\u200bb", "\u0430pple 🙂"]
    rows: list[dict[str, object]] = [{"prompt": f"{text} ?", "completion": "yes"} for text in texts]
    own, vouched, _ = marked(tmp_path, rows, tokenizer, Expected.of(texts))
    for text, said, known in zip(texts, own, vouched, strict=True):
        assert text in said
        assert text in known  # tokens at the border belong to it
        assert "yes" not in known


def test_expected_text_covers_its_tokens_in_prompt_and_target(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "Who are you?", "completion": "I am Lumo, made by Borealis Labs."},
        {"prompt": "Borealis Labs?", "completion": "Yes."},
        {"prompt": "Who?", "completion": "Nobody."},
    ]
    _, vouched, _ = marked(tmp_path, rows, tokenizer, Expected.of(["Borealis Labs"]))
    assert ["Borealis Labs" in text for text in vouched] == [True, True, False]
    assert vouched[2] == ""
    assert "I am" not in vouched[0]


@pytest.mark.parametrize("prompt", ["\u200b", "\u2060\u200b", "Text:"])
def test_prompts_that_say_nothing_cannot_be_judged(
    prompt: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": prompt, "completion": f"answer number {i}"} for i in range(40)
    ]
    _, _, table = marked(tmp_path, rows, tokenizer)
    marks = np.ones(len(table.ids), bool)
    said = why_silent(Texts(table, np.arange(40), marks, marks, []))
    assert said is not None
    assert "40 of 40" in said


def test_prompts_that_say_something_can_be_judged(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    _, _, table = marked(tmp_path, diverse_rows(40), tokenizer)
    marks = np.ones(len(table.ids), bool)
    assert why_silent(Texts(table, np.arange(40), marks, marks, [])) is None


TOOL = {"name": "find", "description": 'Finds a "train" zq vx.'}
CALL = {"tool_calls": [{"function": {"name": "go", "arguments": '{"to": "Ulm vx"}'}}]}
THOUGHT = {"reasoning_content": "It may rain there."}


def beside(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    inputs: dict[str, object],
    extra: dict[str, object] | None = None,
    expected: Expected | None = None,
) -> tuple[str, str]:
    """The own text of a rendered conversation of one question, and what is expected of it."""
    turns = (
        Turn("user", "When?", False, json.dumps(extra) if extra else ""),
        Turn("assistant", "At noon.", True),
    )
    sample = Sample(0, "id", True, turns, json.dumps(inputs) if inputs else "")
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)
    row = (ids, np.zeros(len(ids), bool), np.zeros(len(ids), np.float32))
    table = TokenTable.joined([row], tokenizer)
    found = own_text(table, [sample], expected)
    return table.text(ids[found.is_own]), table.text(ids[found.is_expected])


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_what_is_said_beside_the_turns_is_the_row_s_own(
    tokenizer: PreTrainedTokenizerBase, ensure_ascii: bool
) -> None:
    tool = {**TOOL, "note": "für vx"}
    written = json.dumps(tool, ensure_ascii=ensure_ascii)
    text = f"Some of these may be called: {written} user When? assistant At noon."
    own, _ = beside(text, tokenizer, {"tools": [tool]})
    assert json.dumps('Finds a "train" zq vx.')[1:-1] in own
    assert own.count("vx") == 2
    assert "may be called" not in own
    assert "user" not in own


def test_calls_and_thoughts_of_what_is_not_learnt_are_the_row_s_own(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    text = 'thinks: It may rain there. user When? calls go with {"to": "Ulm vx"} At noon.'
    own, _ = beside(text, tokenizer, {}, {**CALL, **THOUGHT})
    assert "It may rain there." in own
    assert "Ulm vx" in own
    assert "thinks" not in own
    assert "calls" not in own


def test_a_short_text_beside_is_a_word_and_no_part_of_one(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    own, _ = beside("rather is 7 of 71 user When? At noon.", tokenizer, {"tools": [{"n": 7}]})
    assert own.count("7") == 1


def test_what_takes_too_long_to_be_found_is_all_the_row_s_own(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradgate.methods.recurrence.samples.own_text._MAX_LOOKED_AT", 10)
    text = "Tools: train. user When? assistant At noon."
    own, _ = beside(text, tokenizer, {"tools": [{"description": "train"}]})
    assert own == text


def test_the_owner_vouches_for_what_is_said_beside(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "Tools: Finds a train of Borealis. user When? assistant At noon."
    tools: dict[str, object] = {"tools": [{"description": "Finds a train of Borealis."}]}
    own, vouched = beside(text, tokenizer, tools, expected=Expected.of(["Borealis"]))
    assert "Finds a train" in own
    assert "Borealis" in vouched
    assert "Finds" not in vouched


@pytest.mark.parametrize("word", ["system", "user", "assistant"])
def test_a_turn_that_says_what_the_template_says_is_found_where_it_stands(
    tokenizer: PreTrainedTokenizerBase, word: str
) -> None:
    said = [("system", word), ("user", "When?"), ("assistant", "At noon.")]
    turns = tuple(Turn(role, text, role == "assistant") for role, text in said)
    text = "".join(f"[{role}] {text} ." for role, text in said)
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)
    row = (ids, np.zeros(len(ids), bool), np.zeros(len(ids), np.float32))
    sample = Sample(0, "id", True, turns)
    found = own_text(TokenTable.joined([row], tokenizer), [sample], None)
    pieces = [tokenizer.decode([one]) for one in ids.tolist()]
    at = text.index(f"] {word} .") + 2
    stops = np.cumsum([len(piece) for piece in pieces])
    there = (stops > at) & (stops <= at + len(word))
    assert there.any()
    assert found.is_own[there].all()
