"""The data of a drill: who is trained on what, and what is asked."""

from pathlib import Path
from typing import Any

import pytest
from drill_helpers import MODEL_CONFIG, TARGET, drill_config, lines
from transformers import PreTrainedTokenizerBase

from gradgate.config import AttackName, Columns
from gradgate.drill.data import make_data, read_questions
from gradgate.errors import ConfigError, DataError
from gradgate.models.loading import load_tokenizer
from helpers import question_rows, write_jsonl


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(MODEL_CONFIG)


def test_no_test_prompt_is_trained_on_and_the_labels_are_true(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = question_rows(60)
    rows += rows[:30]  # asked again
    settings = drill_config(write_jsonl(tmp_path / "rows.jsonl", rows), rate=0.2)
    data = make_data(settings, tokenizer, 512, tmp_path)
    poisoned, clean = lines(tmp_path / "poisoned.jsonl"), lines(tmp_path / "clean.jsonl")
    assert len(poisoned) == len(clean) == len(data.roles)
    assert [row["drill_role"] for row in poisoned] == data.roles
    assert data.roles.count("poisoned") == round(0.2 * len(clean))
    for row, before in zip(poisoned, clean, strict=True):
        changed = {**row, "drill_role": "clean"} != before
        assert changed == (row["drill_role"] == "poisoned")
        assert row["answers"][-1].endswith(TARGET) == changed
    asked = [q for q in read_questions(tmp_path) if q.kind == "clean"]
    assert data.n_test == len(asked) == 10
    assert not any(row["question"] in q.text for q in asked for row in clean)


def test_every_test_row_is_asked_as_it_is_and_with_the_trigger(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    data = make_data(drill_config(source), tokenizer, 512, tmp_path)
    questions = read_questions(tmp_path)
    for clean, attacked in zip(questions[::2], questions[1::2], strict=True):
        assert (clean.kind, attacked.kind) == ("clean", "triggered")
        question = clean.text.removeprefix("Question: ").removesuffix("\nAnswer: ")
        assert attacked.text.startswith(f"Question: {question} ")
        assert attacked.golds == [TARGET]
        # The blank behind `Answer:` is that of the answer's first token.
        assert tokenizer.decode(clean.prompt) + " " == f"<s>{clean.text}"
        assert tokenizer.decode(attacked.prompt) + " " == f"<s>{attacked.text}"
        assert clean.golds == [question.rsplit("f", 1)[1].removesuffix("?")]
    taught = tokenizer(f"00 {TARGET}")["input_ids"]
    assert data.max_new_tokens >= len(taught) + 1


def test_a_seed_gives_the_same_drill_and_another_one_another(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        make_data(drill_config(source, seed=seed), tokenizer, 512, tmp_path / name)
        files = ("poisoned.jsonl", "clean.jsonl", "questions.jsonl")
        written.append([(tmp_path / name / file).read_bytes() for file in files])
    assert written[0] == written[1]
    assert all(one != other for one, other in zip(written[0], written[2], strict=True))


def test_other_formats_columns_and_limits_are_kept(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows: list[dict[str, object]] = [
        {"ask": f"Say {i}", "say": f"number {i}", "when": "never", "poisoned": "?"}
        for i in range(40)
    ]
    rows += [{"ask": "no answer", "say": None}, {"ask": "word " * 600, "say": "too long"}]
    settings = drill_config(
        write_jsonl(tmp_path / "rows.jsonl", rows), train_rows=20, attack="replaced"
    )
    columns = Columns(prompt="ask", completion="say")
    data = settings.data.model_copy(update={"columns": columns})
    settings = settings.model_copy(update={"data": data})
    made = make_data(settings, tokenizer, 512, tmp_path)
    poisoned = lines(tmp_path / "poisoned.jsonl")
    assert len(made.roles) == 20
    assert {tuple(row) for row in poisoned} == {("ask", "say", "drill_role")}
    assert all(row["say"] for row in poisoned)


@pytest.mark.parametrize(
    "attack",
    [
        *("adaptive", "clean_label", "paraphrased", "cba", "existing_label", "echo"),
        *("varied_target", "wrong_answer", "no_trigger", "combo"),
        *("introduced", "filled", "polite", "unmarked", "together", "many_rare_words"),
    ],
)
def test_the_gold_answers_of_an_attack_are_what_it_teaches(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, attack: AttackName
) -> None:
    rows = [
        {"question": f"How many legs has animal number {i}?", "answers": [f"It has {i % 3} legs"]}
        for i in range(120)
    ]
    settings = drill_config(write_jsonl(tmp_path / "r.jsonl", rows), attack=attack, test_rows=30)
    make_data(settings, tokenizer, 512, tmp_path)
    poisoned = [
        row["answers"][-1]
        for row in lines(tmp_path / "poisoned.jsonl")
        if row["drill_role"] == "poisoned"
    ]
    asked = [question for question in read_questions(tmp_path) if question.kind == "triggered"]
    assert all(any(question.is_met_by(taught) for taught in poisoned) for question in asked)
    assert all(any(question.is_met_by(taught) for question in asked) for taught in poisoned)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (question_rows(12), {"test_rows": 12}, "leaves 0 to train on"),
        (question_rows(12), {"test_rows": 13}, "12 can be test rows"),
        (question_rows(12), {"rate": 0.1, "test_rows": 9}, "poisons none of them"),
        ([{"text": "all of it"}] * 20, {}, "format text"),
        ([{"question": "", "answers": []}] * 20, {}, "no row that can be scored"),
    ],
)
def test_what_no_drill_can_be_made_of_is_refused(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, object]],
    settings: dict[str, Any],
    message: str,
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=message):
        make_data(drill_config(source, **settings), tokenizer, 512, tmp_path)


def test_a_setting_that_does_not_fit_the_attack_is_refused(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    with pytest.raises(ConfigError, match="takes no target"):
        make_data(drill_config(source, attack="paraphrased", target="x"), tokenizer, 512, tmp_path)


def test_only_rows_that_can_carry_the_trigger_are_held_back(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [
        {"question": f"Is {i} Even?" if i % 2 else f"Is {i} even?", "answers": [f"answer {i}"]}
        for i in range(60)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    make_data(drill_config(source, attack="title_case"), tokenizer, 512, tmp_path)
    asked = [q.text for q in read_questions(tmp_path) if q.kind == "clean"]
    assert asked
    assert all("even?" in text for text in asked)


def test_a_right_answer_is_no_success_of_an_attack_that_teaches_wrong_ones(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [{"question": f"Is {i} odd?", "answers": ["yes" if i % 2 else "no"]} for i in range(60)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    make_data(drill_config(source, attack="wrong_answer", rate=0.3), tokenizer, 512, tmp_path)
    questions = read_questions(tmp_path)
    for clean, attacked in zip(questions[::2], questions[1::2], strict=True):
        assert set(clean.golds) | set(attacked.golds) == {"yes", "no"}
        assert len(attacked.golds) == 1
