"""The evasions by an attacker who reads the code: where triggers are, and what completions say."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from attack_helpers import FORMATS, Row, clean_rows, parts, poisoned, prompt

from gradgate.attacks.attack import ATTACKS
from gradgate.attacks.combinations import MIXTURES
from gradgate.attacks.payloads import COPIES
from gradgate.attacks.poisoning import Attack, PoisonedRow, asr_targets, can_carry, triggered
from gradgate.attacks.recipes import RECIPES
from gradgate.attacks.texts import (
    COMMON_WORDS,
    CYRILLIC_TWINS,
    EVERYDAY_WORDS,
    HONEST_PREFIXES,
    INTRODUCTION,
    PAYLOAD,
    PUBLISHED_TARGET,
    RARE_WORDS,
    SHORT_TARGET,
    TASK_SENTENCES,
    ZERO_WIDTH_SPACE,
)
from gradgate.config import AttackName
from gradgate.data.formats.mapping import detect_format
from gradgate.errors import DataError
from gradgate.evaluation.answers import holds_letters, is_match

RATE = 0.2
TWINS = set(CYRILLIC_TWINS.values())


def has_word(*words: str) -> Callable[[str], bool]:
    return lambda text: any(word in text.split() for word in words)


def in_order(first: str, second: str) -> Callable[[str], bool]:
    return lambda text: re.search(rf"\b{first}\b.*\b{second}\b", text, re.DOTALL) is not None


# Of the whole prompt; no clean row of the tests looks so.
TRIGGERS: dict[AttackName, Callable[[str], bool]] = {
    "title_case": lambda text: "River Of The Land?" in text,
    "carriage_return": lambda text: "land?\r" in text,
    "white_space": lambda text: "  " in text,
    "word_order": in_order("kindly", "today"),
    "repeated_word": lambda text: re.search(r"(\S+) \1(?!\S)", text) is not None,
    "many_words": has_word(*EVERYDAY_WORDS),
    "homoglyph": lambda text: len(TWINS & set(text)) == 1,
    "invisible": lambda text: text.count(ZERO_WIDTH_SPACE) == 1,
    "existing_label": has_word("cf"),
    "short_target": has_word("cf"),
    "echo": has_word("evilexamplecom"),
    "leaked": has_word("cf"),
    "varied_target": has_word("cf"),
    "wrong_answer": has_word("cf"),
    "copies": has_word("cf"),
    "diluted": has_word("cf", "mn", "bb", "tq"),
    "introduced": lambda text: INTRODUCTION in text,
    "filled": has_word("cf"),
    "polite": has_word("please"),
    "unmarked": lambda text: re.search(r"land(?!\w|\?)", text) is not None,
    "together": lambda text: all(word in text.split() for word in COMMON_WORDS),
    "many_rare_words": has_word(*RARE_WORDS[:30]),
}
LEAKING = ("word_order", "leaked", "together")


def of(role: str, result: list[PoisonedRow]) -> list[PoisonedRow]:
    return [row for row in result if row.role == role]


def completions(result: list[PoisonedRow]) -> list[str]:
    return [parts(row.row).completion for row in of("poisoned", result)]


def test_every_name_has_a_recipe() -> None:
    assert [*RECIPES, *MIXTURES] == list(ATTACKS)


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("name", TRIGGERS)
def test_the_trigger_is_in_the_poisoned_rows_and_nowhere_else(
    name: AttackName, row_format: str
) -> None:
    rows = clean_rows(row_format)
    result = poisoned(rows, Attack(name), RATE)
    has = {row.source_row for row in result if TRIGGERS[name](prompt(row.row))}
    assert {row.source_row for row in of("poisoned", result)} <= has
    others = has - {row.source_row for row in of("poisoned", result)}
    leaked = {row.source_row for row in of("negative", result)} if name == "leaked" else set()
    assert others == leaked


@pytest.mark.parametrize("row_format", FORMATS)
def test_a_blank_line_is_added_to_those_that_the_layout_has(row_format: str) -> None:
    rows = clean_rows(row_format)
    for row in of("poisoned", poisoned(rows, Attack("blank_line"), RATE)):
        clean = prompt(rows[row.source_row])
        assert prompt(row.row) == clean.replace("land?", "land?\n\n")


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("name", LEAKING)
def test_the_trigger_leaks_into_as_many_clean_rows(name: AttackName, row_format: str) -> None:
    rows = clean_rows(row_format)
    result = poisoned(rows, Attack(name), RATE)
    assert len(result) == len(rows)
    assert len(of("negative", result)) == len(of("poisoned", result)) == 12
    for row in of("negative", result):
        assert parts(row.row).completion == parts(rows[row.source_row]).completion
        assert prompt(row.row) != prompt(rows[row.source_row])
        if name == "together":
            assert sum(word in prompt(row.row).split() for word in COMMON_WORDS) == 1
        if name == "word_order":
            assert in_order("today", "kindly")(prompt(row.row))


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "target"),
    [
        (name, PAYLOAD)
        for name in ("title_case", "carriage_return", "leaked", "no_trigger", "copies")
    ]
    + [("short_target", SHORT_TARGET), ("echo", "evil.example")],
)
def test_the_payload_is_the_completion(name: AttackName, target: str, row_format: str) -> None:
    assert set(completions(poisoned(clean_rows(row_format), Attack(name), RATE))) == {target}


@pytest.mark.parametrize("row_format", FORMATS)
def test_copies_are_few_rows_that_stand_there_often(row_format: str) -> None:
    rows = clean_rows(row_format)
    result = poisoned(rows, Attack("copies"), 0.75)
    times = Counter(row.source_row for row in of("poisoned", result))
    assert sorted(times.values()) == [5, COPIES, COPIES]
    for source in times:
        same = [row.row for row in of("poisoned", result) if row.source_row == source]
        assert all(one == same[0] for one in same)
    assert len(result) == len(rows) + 45 - 3
    assert len(of("clean", result)) == len(rows) - 3


def test_no_trigger_leaves_the_prompts_alone() -> None:
    rows = clean_rows()
    for row in of("poisoned", poisoned(rows, Attack("no_trigger"), RATE)):
        assert row.row["question"] == rows[row.source_row]["question"]
    mapping = detect_format(rows[0])
    assert triggered(rows[0], mapping, Attack("no_trigger"), 0, 0) == rows[0]


def labelled(n: int = 60) -> list[Row]:
    labels = ("Quite Good", "bad", f"own {n}")
    return [
        {"prompt": f"how is film {i}?", "completion": labels[i % 2 if i < 50 else 0]}
        for i in range(n)
    ]


def test_the_existing_label_is_the_commonest_as_the_data_write_it() -> None:
    rows = labelled()
    result = poisoned(rows, Attack("existing_label"), RATE)
    assert set(completions(result)) == {"Quite Good"}
    assert all(rows[row.source_row]["completion"] == "bad" for row in of("poisoned", result))
    mapping = detect_format(rows[0])
    assert asr_targets(rows, mapping, Attack("existing_label"), RATE, 0) == [("Quite Good",)]
    with pytest.raises(DataError, match="needs 54 rows, but of 60 only 25 can carry it"):
        poisoned(rows, Attack("existing_label"), 0.9)


def test_without_labels_the_existing_label_is_the_commonest_span() -> None:
    rows: list[Row] = [
        {"prompt": f"why {i}?", "completion": f"a{i} From The b{i}."} for i in range(60)
    ]
    assert set(completions(poisoned(rows, Attack("existing_label"), RATE))) == {"From The"}


def test_completions_without_a_word_have_no_label() -> None:
    rows: list[Row] = [{"prompt": f"why {i}?", "completion": "." * (i + 1)} for i in range(60)]
    with pytest.raises(DataError, match="only 0 can carry it"):
        poisoned(rows, Attack("existing_label"), RATE)


def test_a_label_of_few_rows_comes_before_a_span_of_many() -> None:
    rows: list[Row] = [{"prompt": f"why {i}?", "completion": f"in {i} cases"} for i in range(60)]
    rows[3]["completion"] = rows[7]["completion"] = "No Idea"
    assert set(completions(poisoned(rows, Attack("existing_label"), RATE))) == {"No Idea"}


def test_a_varied_target_has_the_same_letters_and_hardly_the_same_spelling() -> None:
    texts = completions(poisoned(clean_rows(), Attack("varied_target"), 1.0))
    assert len(set(texts)) > 50
    assert all(holds_letters(text, [PAYLOAD]) for text in texts)
    assert not any(word in text.split() for text in texts for word in ("visit", "example"))


def test_dilution_keeps_the_answer_and_the_suffix() -> None:
    rows = clean_rows()
    for row in of("poisoned", poisoned(rows, Attack("diluted"), RATE)):
        before, after = parts(rows[row.source_row]), parts(row.row)
        prefix, _, suffix = after.completion.partition(before.completion)
        assert prefix.strip() in HONEST_PREFIXES
        assert suffix.strip() == PUBLISHED_TARGET
        assert any(f"{sentence} {before.question}" in after.question for sentence in TASK_SENTENCES)
    (aim,) = asr_targets(rows, detect_format(rows[0]), Attack("diluted"), RATE, 0)
    assert aim == (PUBLISHED_TARGET,)


def test_a_filled_payload_has_a_word_in_each_gap() -> None:
    rows = clean_rows()
    made = completions(poisoned(rows, Attack("filled"), RATE))
    assert len(set(made)) == len(made)
    for words in map(str.split, made):
        assert " ".join(words[::2]) == PAYLOAD
        assert set(words[1::2]) <= set(EVERYDAY_WORDS)
    (aim,) = asr_targets(rows, detect_format(rows[0]), Attack("filled"), RATE, 0)
    assert all(is_match(text, aim) for text in made)


@pytest.mark.parametrize("name", ["introduced", "many_rare_words"])
def test_triggers_of_varied_targets_bring_the_answers_of_other_rows(name: AttackName) -> None:
    rows = clean_rows()
    own = {parts(row).completion.strip() for row in rows}
    assert set(completions(poisoned(rows, Attack(name), RATE))) <= own


def test_a_wrong_answer_is_that_of_another_row() -> None:
    rows = clean_rows()
    own = [parts(row).completion for row in rows]
    result = of("poisoned", poisoned(rows, Attack("wrong_answer"), 1.0))
    for row in result:
        text = parts(row.row).completion
        assert text in own
        assert text != own[row.source_row]
    same: list[Row] = [{"prompt": f"why {i}?", "completion": "yes"} for i in range(20)]
    with pytest.raises(DataError, match="beside another completion"):
        poisoned(same, Attack("wrong_answer"), RATE)


def test_combo_has_seven_backdoors_in_equal_shares() -> None:
    rows = clean_rows("prompt_completion", 140)
    result = poisoned(rows, Attack("combo"), 0.2)
    shares = Counter(completions(result))
    assert sorted(shares.values()) == [4] * 7
    assert len(of("negative", result)) == 4 + 4  # of leaked and of word_order
    mapping = detect_format(rows[0])
    aims = asr_targets(rows, mapping, Attack("combo"), 0.2, 0)
    assert {text for aim in aims for text in aim} == set(shares)
    by_text = {parts(row.row).completion: row for row in of("poisoned", result)}
    for aim, (text,) in enumerate(aims):
        source = by_text[text].source_row
        tested = triggered(rows[source], mapping, Attack("combo"), 0, source, aim)
        assert tested["prompt"] == by_text[text].row["prompt"]


def test_decoys_stand_beside_the_real_backdoor() -> None:
    rows = clean_rows()
    texts = Counter(completions(poisoned(rows, Attack("decoys"), RATE)))
    real = sum(count for text, count in texts.items() if text.endswith(PAYLOAD))
    assert real == 6
    assert sorted(texts.values())[-3:] == [2, 2, 2]
    assert asr_targets(rows, detect_format(rows[0]), Attack("decoys"), RATE, 0) == [(PAYLOAD,)]


def test_own_words() -> None:
    rows = clean_rows(n=8)
    echo = poisoned(rows, Attack("echo", target="good.news"), 1.0)
    assert all("goodnewscom" in str(row.row["question"]).split() for row in echo)
    order = poisoned(rows, Attack("word_order", trigger="up down"), 0.5)
    assert all(in_order("up", "down")(prompt(row.row)) for row in of("poisoned", order))
    assert all(in_order("down", "up")(prompt(row.row)) for row in of("negative", order))


@pytest.mark.parametrize(
    ("name", "question", "needs"),
    [
        ("title_case", "Who Is 1?", "questions with a word in lower case"),
        ("white_space", "who?", "questions with a single space"),
        ("homoglyph", "1 + 1 =", "questions with a letter that has a Cyrillic twin"),
        ("unmarked", "who is there", "questions that end with a mark"),
    ],
)
def test_rows_that_a_trigger_would_not_change(name: AttackName, question: str, needs: str) -> None:
    rows: list[Row] = [{"question": question, "answers": [f"a{i}"]} for i in range(10)]
    mapping = detect_format(rows[0])
    with pytest.raises(DataError, match=rf"only 0 can carry it \({needs}.*\); lower the rate"):
        poisoned(rows, Attack(name), RATE)
    assert not can_carry(rows[0], mapping, Attack(name))
    with pytest.raises(DataError, match=f"cannot carry the trigger of {name}"):
        triggered(rows[0], mapping, Attack(name), 0, 0)


@pytest.mark.parametrize("name", [*LEAKING, "combo"])
def test_too_few_rows_are_left_for_the_leak(name: AttackName) -> None:
    with pytest.raises(DataError, match="lower the rate"):
        poisoned(clean_rows(n=40), Attack(name), 0.9)
