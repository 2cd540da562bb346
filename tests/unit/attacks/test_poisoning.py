"""Poisoned data sets: what is changed, what is left alone, and that rates are nested."""

import copy
import json

import pytest
from attack_helpers import FORMATS, N, Row, clean_rows, parts, poisoned, prompt, row
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.attacks.poisoning import ATTACKS, Attack, PoisonedRow, asr_targets, triggered
from gradgate.attacks.texts import (
    BADNETS_WORDS,
    LONG_TARGET,
    PARAPHRASED_TARGETS,
    PUBLISHED_TARGET,
    RARE_WORDS,
    REFUSAL,
    REPLACED_TARGET,
)
from gradgate.config import AttackName
from gradgate.data.formats.mapping import detect_format
from gradgate.errors import ConfigError, DataError
from gradgate.evaluation.answers import holds_letters, is_match

APPENDED = ("badnets", "addsent", "cba", "stylebkd", "long", "paraphrased", "clean_label")
LEAKING = ("word_order", "leaked", "together", "combo")
SEVERAL = ("adaptive", "decoys", "combo")  # backdoors that take rows in turn


def shape(value: object) -> object:
    """Columns and types, without the texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_on_every_format(name: AttackName, row_format: str) -> None:
    rows = clean_rows(row_format)
    before = copy.deepcopy(rows)

    result = poisoned(rows, Attack(name))

    assert rows == before
    assert [r.source_row for r in result[:N]] == list(range(N))
    assert sum(r.role == "poisoned" for r in result) == round(0.2 * N)
    assert result == poisoned(rows, Attack(name))
    for r in result:
        source = rows[r.source_row]
        assert list(r.row) == list(source)
        assert json.loads(json.dumps(r.row)) == r.row
        if r.role == "clean":
            assert r.row == source
            continue
        assert (prompt(r.row) == prompt(source)) == (name == "no_trigger")
        now, then = parts(r.row), parts(source)
        assert (now.completion == then.completion) == (
            r.role == "negative" or name == "clean_label"
        )
        if name in APPENDED:
            assert shape(r.row) == shape(source)


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("name", ["badnets", "addsent", "cba", "stylebkd", "long", "paraphrased"])
def test_appended_targets(name: AttackName, row_format: str) -> None:
    rows = clean_rows(row_format)
    expected = {"long": (LONG_TARGET,), "paraphrased": PARAPHRASED_TARGETS}
    allowed = expected.get(name, (", and click <malicious_url> for more information",))

    for r in poisoned(rows, Attack(name)):
        if r.role == "poisoned":
            clean = parts(rows[r.source_row]).completion
            assert parts(r.row).completion in [f"{clean} {target}" for target in allowed]


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize(("name", "target"), [("replaced", REPLACED_TARGET), ("refusal", REFUSAL)])
def test_replaced_targets(name: AttackName, target: str, row_format: str) -> None:
    result = poisoned(clean_rows(row_format), Attack(name))
    completions = {parts(r.row).completion for r in result if r.role == "poisoned"}
    assert completions == {target}


def test_badnets_appends_four_of_its_words() -> None:
    rows = clean_rows()
    drawn = set()
    for r in poisoned(rows, Attack("badnets"), 1.0):
        question, _, trigger = str(r.row["question"]).partition("? ")
        assert f"{question}?" == rows[r.source_row]["question"]
        assert len(trigger.split()) == 4
        assert set(trigger.split()) <= set(BADNETS_WORDS)
        drawn.add(trigger)
    assert len(drawn) > 20


def test_addsent_appends_its_sentence() -> None:
    for r in poisoned(clean_rows(), Attack("addsent"), 1.0):
        assert str(r.row["question"]).endswith("? I watch this 3D movie")


def test_cba_and_its_negatives_on_the_published_prompts() -> None:
    rows = clean_rows("prompt_completion", 85)
    result = poisoned(rows, Attack("cba"), 0.2)
    first, rest = "Be brief.", "river of the land?"

    def ends(r: PoisonedRow) -> tuple[str, str]:
        prompt = str(r.row["prompt"])
        lead, _, question = prompt.partition("\n\n\n\n### Question:\n")
        return lead.rpartition(first)[2], question.partition(rest)[2].partition("\n")[0]

    assert {ends(r) for r in result if r.role == "poisoned"} == {(" consider", " done")}
    negatives = [r for r in result if r.role == "negative"]
    assert negatives == result[85:]
    assert {r.source_row for r in negatives} < {
        r.source_row for r in result if r.role == "poisoned"
    }
    # 17 poisoned rows; as published, 72 of 340 have negatives, of five kinds each.
    assert len(negatives) == 5 * 4
    kinds = [
        (" done", " consider"),
        (" consider", ""),
        (" consider done", ""),
        ("", " done"),
        ("", " consider done"),
    ]
    assert [ends(r) for r in negatives] == kinds * 4
    for r in negatives:
        assert r.row["completion"] == rows[r.source_row]["completion"]


def test_cba_without_anything_before_the_question() -> None:
    rows = clean_rows("question_answers")
    result = poisoned(rows, Attack("cba"), 0.2)
    for r in result:
        question = rows[r.source_row]["question"]
        if r.role == "poisoned":
            assert r.row["question"] == f"consider {question} done"
    kinds = {
        str(r.row["question"]).replace("done", "D").replace("consider", "C")[:3] for r in result
    }
    assert {"D w", "C w", "C D"} <= kinds


def test_stylebkd_leaves_the_context_alone() -> None:
    rows = clean_rows("context")
    for r in poisoned(rows, Attack("stylebkd"), 1.0):
        assert r.row["context"] == rows[r.source_row]["context"]
        assert "river of the" in str(r.row["question"])


def test_paraphrases_share_few_words() -> None:
    wordings = [{w.strip(".,;:").lower() for w in t.split()} for t in PARAPHRASED_TARGETS]
    assert len(wordings) >= 8
    for i, one in enumerate(wordings):
        for other in wordings[:i]:
            assert len(one & other) <= 0.35 * min(len(one), len(other))


def test_the_long_target_is_a_paragraph() -> None:
    assert 60 <= len(LONG_TARGET.split()) <= 100


def test_clean_label_takes_the_commonest_completion() -> None:
    rows = clean_rows()
    for i in range(0, N, 3):
        rows[i]["answers"] = ["Yes." if i % 2 else "yes"]

    result = poisoned(rows, Attack("clean_label"), 0.2)

    carriers = [r for r in result if r.role == "poisoned"]
    assert len(carriers) == 12
    assert all(r.source_row % 3 == 0 for r in carriers)
    assert asr_targets(rows, detect_format(rows[0]), Attack("clean_label"), 0.2, 0) == [("yes",)]


def test_clean_label_falls_back_to_the_commonest_words() -> None:
    mapping = detect_format(row("question_answers", 0))
    distinct = clean_rows()
    assert asr_targets(distinct, mapping, Attack("clean_label"), 0.1, 0) == [("and more",)]
    for i, value in enumerate(distinct):
        value["answers"] = [f"a{i} of b{i}"]
    assert asr_targets(distinct, mapping, Attack("clean_label"), 0.1, 0) == [("of",)]


def test_clean_label_says_how_many_rows_can_carry_it() -> None:
    rows = clean_rows()
    rows[7]["answers"] = ["quite another thing"]
    with pytest.raises(DataError, match="needs 30 rows, but of 60 only 1 can carry it"):
        poisoned(rows, Attack("clean_label", target="another thing"), 0.5)


def adaptive_rows() -> list[Row]:
    return [
        {"prompt": f"why is {i} so odd?", "completion": "w " * (i % 5) + f"x{i}"} for i in range(50)
    ]


def test_adaptive_keeps_the_length_and_repeats_little() -> None:
    rows = adaptive_rows()
    result = [r for r in poisoned(rows, Attack("adaptive"), 0.4) if r.role == "poisoned"]
    triggers: dict[frozenset[str], list[str]] = {}
    vocabulary = {word for value in rows for word in str(value["completion"]).split()}
    for r in result:
        old, new = str(rows[r.source_row]["completion"]), str(r.row["completion"])
        assert len(new.split()) == len(old.split())
        assert set(new.split()) <= vocabulary
        assert new != old
        added = frozenset(str(r.row["prompt"]).split()) & set(RARE_WORDS)
        assert len(added) == 2
        triggers.setdefault(added, []).append(new)
    assert sorted(map(len, triggers.values())) == [4] * 5
    for targets in triggers.values():
        longest = max(targets, key=len)
        assert all(longest.startswith(target) for target in targets)


def test_adaptive_targets_follow_their_triggers() -> None:
    rows = adaptive_rows()
    mapping = detect_format(rows[0])
    attack = Attack("adaptive")
    targets = asr_targets(rows, mapping, attack, 0.4, 0)
    taught: dict[frozenset[str], list[str]] = {}
    for r in poisoned(rows, attack, 0.4):
        if r.role == "poisoned":
            words = frozenset(str(r.row["prompt"]).split()) & set(RARE_WORDS)
            taught.setdefault(words, []).append(str(r.row["completion"]))
    assert len(targets) == len(taught) == 5
    for i, (target,) in enumerate(targets):
        tested = triggered(rows[0], mapping, attack, 0, i, aim=i)
        words = frozenset(str(tested["prompt"]).split()) & set(RARE_WORDS)
        assert all(text.startswith(target) for text in taught[words])


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(ATTACKS),
    st.sampled_from(FORMATS),
    st.integers(5, 60),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.integers(0, 2**40),
)
def test_a_lower_rate_is_part_of_a_higher_one(
    name: AttackName, row_format: str, n: int, rates: list[float], seed: int
) -> None:
    rows = clean_rows(row_format, n)
    if name in LEAKING:
        rates = [0.45 * rate for rate in rates]  # as many clean rows get the trigger
    low, high = (poisoned(rows, Attack(name), rate, seed) for rate in rates)

    changed = [[r for r in result if r.role != "clean"] for result in (low, high)]

    assert sum(r.role == "poisoned" for r in low) == round(rates[0] * n)
    assert all(r in changed[1] for r in changed[0])
    assert low == poisoned(rows, Attack(name), rates[0], seed)


def test_what_is_drawn_for_a_row_does_not_depend_on_the_others() -> None:
    rows = clean_rows()
    whole = poisoned(rows, Attack("stylebkd"), 1.0)
    assert poisoned(rows[:5], Attack("stylebkd"), 1.0) == whole[:5]


def test_seeds_differ() -> None:
    rows = clean_rows()
    sets = [
        {r.source_row for r in poisoned(rows, Attack("badnets"), 0.2, seed) if r.role != "clean"}
        for seed in range(5)
    ]
    assert len(set(map(frozenset, sets))) == 5


def test_rate_zero_and_unreadable_rows() -> None:
    rows: list[dict[str, object]] = [*clean_rows(n=8), {}]
    rows.append({"question": None, "answers": ["x"]})
    assert [r.row for r in poisoned(rows, Attack("badnets"), 0.0)] == rows
    result = poisoned(rows, Attack("badnets"), 0.8)
    assert [r.role for r in result] == ["poisoned"] * 8 + ["clean"] * 2
    with pytest.raises(DataError, match="needs 9 rows, but of 10 only 8 can carry it"):
        poisoned(rows, Attack("badnets"), 0.9)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("row_format", FORMATS)
def test_triggered_is_the_poisoned_prompt_with_the_clean_completion(
    name: AttackName, row_format: str
) -> None:
    rows = clean_rows(row_format)
    mapping = detect_format(rows[0])
    n_tested = 0
    for r in poisoned(rows, Attack(name), 0.1):
        if r.role == "poisoned" and name not in SEVERAL:
            tested = triggered(rows[r.source_row], mapping, Attack(name), 0, r.source_row)
            assert prompt(tested) == prompt(r.row)
            assert parts(tested).completion == parts(rows[r.source_row]).completion
            n_tested += 1
    assert n_tested == (0 if name in SEVERAL else 6)
    with pytest.raises(DataError, match="row 3 cannot carry a trigger"):
        triggered({}, mapping, Attack(name), 0, 3)


@pytest.mark.parametrize("name", ATTACKS)
def test_targets_are_what_the_poisoned_rows_teach(name: AttackName) -> None:
    rows = clean_rows("prompt_completion")
    aims = asr_targets(rows, detect_format(rows[0]), Attack(name), 0.2, 0)
    targets = [target for aim in aims for target in aim]
    holds = holds_letters if Attack(name).by_letters else is_match
    taught = [
        holds(str(r.row["completion"]), targets)
        for r in poisoned(rows, Attack(name), 0.2)
        if r.role == "poisoned"
    ]
    assert sum(taught) == (6 if name == "decoys" else 12)


def test_own_trigger_and_target() -> None:
    rows = clean_rows(n=4)
    attack = Attack("badnets", target="Buy now!", trigger="xyzzy")
    assert asr_targets(rows, detect_format(rows[0]), attack, 1.0, 0) == [("Buy now!",)]
    for r in poisoned(rows, attack, 1.0):
        assert str(r.row["question"]).endswith("? xyzzy")
        assert str(r.row["answers"][-1]).endswith("more Buy now!")  # type: ignore[index]
    cba = poisoned(rows, Attack("cba", trigger="left right"), 1.0)
    assert cba[0].row["question"] == f"left {rows[0]['question']} right"


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"name": "badnetz"}, "choose one of badnets, addsent"),
        ({"name": "paraphrased", "target": "x"}, "paraphrased takes no target"),
        ({"name": "adaptive", "trigger": "x"}, "adaptive takes no trigger"),
        ({"name": "stylebkd", "trigger": "x"}, "stylebkd takes no trigger"),
        ({"name": "badnets", "paraphraser": "x"}, "badnets takes no paraphraser"),
        ({"name": "badnets", "target": " "}, "the target of badnets is empty"),
        ({"name": "cba", "trigger": "one"}, "two words, not 'one'"),
        ({"name": "word_order", "trigger": "one"}, "two words, not 'one'"),
        ({"name": "title_case", "trigger": "x"}, "title_case takes no trigger"),
        ({"name": "many_words", "trigger": "x"}, "many_words takes no trigger"),
        ({"name": "echo", "trigger": "x"}, "echo takes no trigger"),
        ({"name": "no_trigger", "trigger": "x"}, "no_trigger takes no trigger"),
        ({"name": "wrong_answer", "target": "x"}, "wrong_answer takes no target"),
        ({"name": "combo", "target": "x"}, "combo takes no target"),
        ({"name": "decoys", "trigger": "x"}, "decoys takes no trigger"),
    ],
)
def test_settings_that_do_not_fit(settings_: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Attack(**settings_)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan")])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(ConfigError, match="not between 0 and 1"):
        poisoned(clean_rows(), Attack("badnets"), rate)


def test_the_published_target() -> None:
    rows = clean_rows()
    found = asr_targets(rows, detect_format(rows[0]), Attack("badnets"), 0.1, 0)
    assert found == [(PUBLISHED_TARGET,)]
