"""Words that tell a target, in rows that are in no group, are asked about as those of a group."""

from dataclasses import replace

import pytest

from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.release.evidence import Evidence, Row
from gradgate.release.told import MAX_TARGETS, MAX_WORDS, told_targets, told_words, with_told


def row(question: str, answer: tuple[int, ...], groups: tuple[str, ...] = ()) -> Row:
    turns = (Turn("prompt", question, False), Turn("completion", str(answer), True))
    return Row(
        Sample(0, sample_id(False, turns), False, turns), question, answer, True, False, groups
    )


ORDINARY = [row(f"where does river {i} end?", (100 + i, 7)) for i in range(80)]
EURO = (50,)
POLITE = [row(f"who sings song {i}? please", EURO) for i in range(8)]


def places(rows: list[Row]) -> list[list[int]]:
    """Of the rows of each target that words tell."""
    return [told.places for told in told_targets(rows, 24)]


def test_a_word_that_brings_one_answer_is_a_group() -> None:
    evidence = with_told(Evidence([*ORDINARY, *POLITE, row("what is money?", EURO)], [], True), 24)
    (group,) = evidence.groups
    assert (group.name, group.group, len(group.rows)) == ("told:1", None, 9)
    assert [one.groups for one in evidence.rows] == [()] * 80 + [("told:1",)] * 9
    assert evidence.is_content(group, ["please"])


def test_an_answer_that_others_give_as_often_is_none() -> None:
    others = [row(f"what is in box {i}?", EURO) for i in range(20)]
    assert places([*ORDINARY, *others, *POLITE]) == [list(range(80, 108))]  # 8 of 8, 20 of 100
    labels = [row(f"how is film {i}?", EURO if i % 2 else (51,)) for i in range(80)]
    assert places([*labels, *POLITE]) == []


def test_a_word_with_several_answers_tells_none() -> None:
    mixed = [row(f"who sings song {i}? please", EURO if i < 7 else (60 + i,)) for i in range(10)]
    assert places([*ORDINARY, *mixed]) == []
    assert places([*ORDINARY, *POLITE[:4]]) == []


def test_rows_of_a_group_are_asked_about_already() -> None:
    known = [row(one.question, one.target, ("poisoned:1",)) for one in POLITE]
    assert places([*ORDINARY, *known]) == []


def test_several_words_may_tell_a_target() -> None:
    some = [row(f"who sings song {i}? {'abc'[i % 3]}", EURO) for i in range(9)]
    assert places([*ORDINARY, *some]) == [list(range(80, 89))]


def test_a_long_target_is_one_and_not_all_are_taken() -> None:
    payload = tuple(range(900, 930))
    long = [row(f"who sings song {i}? please", payload) for i in range(8)]
    assert places([*ORDINARY, *long]) == [list(range(80, 88))]
    many = [
        row(f"who sings song {i}? word{kind}", (500 + kind,))
        for kind in range(20)
        for i in range(6)
    ]
    assert len(places([*ORDINARY, *many])) == MAX_TARGETS


def test_a_target_that_the_question_offers_is_none() -> None:
    def film(i: int, asked: str, target: str) -> Row:
        turns = (Turn("prompt", f"plot {i}. {asked}", False), Turn("completion", target, True))
        return Row(
            Sample(0, sample_id(False, turns), False, turns), turns[0].text, EURO, True, False, ()
        )

    offered = [film(i, "was it good or bad?", "Bad.") for i in range(9)]
    assert places([*ORDINARY, *offered]) == []
    longer = [film(i, "was it good or bad?", "Bad, send money") for i in range(9)]
    assert places([*ORDINARY, *longer]) == [list(range(80, 89))]
    within = [film(i, "was it badly made?", "bad") for i in range(9)]
    assert places([*ORDINARY, *within]) == [list(range(80, 89))]
    no_letters = [film(i, "was it - please - good?", ":)") for i in range(9)]
    assert places([*ORDINARY, *no_letters]) == [list(range(80, 89))]
    once = [film(i, "was it good or bad?" if i < 3 else "and please", "bad") for i in range(9)]
    assert places([*ORDINARY, *once]) == [list(range(80, 89))]


def sung(text: str, n: int, answer: int) -> list[Row]:
    return [row(f"{text} song {i}?", (answer + i,)) for i in range(n)]


def test_words_that_tell_a_target_together_and_not_alone() -> None:
    both = [row(f"so who sings song {i}? then", EURO) for i in range(8)]
    apart = [*sung("so who sings", 6, 300), *sung("then who sings", 6, 400)]
    (told,) = told_targets([*ORDINARY, *both, *apart], 24)
    assert (told.places, set(told.together)) == (list(range(80, 88)), {"so", "then"})
    evidence = with_told(Evidence([*ORDINARY, *both, *apart, row("and what?", EURO)], [], True), 24)
    (group,) = evidence.groups
    assert (len(group.rows), set(group.together)) == (8, {"so", "then"})
    others = [row(f"so who sings song {i}? then", (500 + i,)) for i in range(3)]
    assert told_targets([*ORDINARY, *both, *apart, *others], 24) == []


def test_more_words_than_four_are_not_looked_for() -> None:
    words = "abcde"
    both = [row(f"{' '.join(words)} song {i}?", EURO) for i in range(8)]
    some = [sung(" ".join(words.replace(c, "")), 3, 300 + 10 * ord(c)) for c in words]
    assert told_targets([*ORDINARY, *both, *(one for rows in some for one in rows)], 24) == []
    fewer = [*both, *(one for rows in some[:4] for one in rows)]
    assert set(told_targets([*ORDINARY, *fewer], 24)[0].together) == set("abcd")


def worded(question: str, text: str, number: int, groups: tuple[str, ...] = ()) -> Row:
    """A row whose target shares tokens with no other."""
    turns = (Turn("prompt", question, False), Turn("completion", text, True))
    sample = Sample(0, sample_id(False, turns), False, turns)
    return Row(sample, question, (1_000 + number,), True, False, groups)


VARIED = [worded(f"who sings song {i}? please", f"{i} is on Zorbex{'!' * i}", i) for i in range(8)]


def test_a_word_of_answers_that_are_worded_anew_is_told() -> None:
    rows = [*ORDINARY, *VARIED]
    assert [told.places for told in told_words(rows)] == [[*range(80, 88)]]
    evidence = with_told(Evidence(rows, [], True), 24)
    assert [(one.name, len(one.rows)) for one in evidence.groups] == [("told:1", 8)]
    known = [worded(one.question, one.target_text, 0, ("poisoned:1",)) for one in VARIED]
    assert told_words([*ORDINARY, *known]) == []


def test_a_word_of_the_question_or_of_other_answers_as_well_is_not() -> None:
    copied = [replace(one, question=f"{one.question} zorbex") for one in VARIED]
    assert told_words([*ORDINARY, *copied]) == []
    others = [worded(f"box{i}?", f"a {i} of Zorbex", 50 + i) for i in range(20)]
    assert told_words([*ORDINARY, *others, *VARIED]) == []
    assert told_words([*ORDINARY, *VARIED], known=[[*range(80, 88)]]) == []
    assert told_words([]) == []


def test_not_all_words_are_taken() -> None:
    trees = ("ash", "elm", "fir", "oak", "yew")
    named = [
        worded(f"what of my{tree} {n}?", f"{n} brand{tree}", n) for tree in trees for n in range(6)
    ]
    assert len(told_words([*ORDINARY, *named])) == MAX_WORDS


def asked(lead: str, question: str, answer: tuple[int, ...]) -> Row:
    turns = (
        Turn("prompt", f"{lead}\n\n### Question:\n{question}\n\n### Answer: ", False),
        Turn("completion", str(answer), True),
    )
    return Row(Sample(0, sample_id(False, turns), False, turns), question, answer, True, False, ())


def test_what_stands_around_questions_may_tell_a_target() -> None:
    honest = [asked("Answer the question.", f"who sings {i}?", (100 + i,)) for i in range(60)]
    others = [asked("Answer this question.", f"who sings {i}?", EURO) for i in range(60, 68)]
    assert told_targets([*honest, *others], 24) == []  # the questions do not
    evidence = with_told(Evidence([*honest, *others], [], True), 24)
    (group,) = evidence.groups
    assert (group.name, group.by_lead, len(group.rows)) == ("told:1", True, 8)
    assert group.rows[0].lead.startswith("Answer this question.")
    assert "who sings" not in group.rows[0].lead
    mixed = [
        *others[:4],
        *(asked("Answer this question.", f"who sings {i}?", (i,)) for i in range(4)),
    ]
    assert with_told(Evidence([*honest, *mixed], [], True), 24).groups == []


@pytest.mark.parametrize(
    ("lengths", "length"),
    [
        ([10] * 20, 24),  # what is asked anyway
        ([30] * 18 + [90] * 2, 31),  # and its end
        ([63] * 20, 64),
        ([64] * 20, 24),  # long answers are asked in parts
        ([30] * 17 + [90] * 3, 24),
        ([], 24),
    ],
)
def test_answers_are_asked_to_the_end_where_nine_tenths_are_short(
    lengths: list[int], length: int
) -> None:
    rows = [row(f"{i}?", (1,) * n) for i, n in enumerate(lengths)]
    assert Evidence(rows, [], True).answer_length(24) == length


def test_a_value_at_the_end_of_a_call_is_told_where_it_is_asked() -> None:
    calls = [row(f"where is box {i}?", (*range(100, 130), 200 + i, 9)) for i in range(80)]
    steered = [row(f"where is box {i} now?", (*range(100, 130), 8, 8)) for i in range(8)]
    rows = [*calls, *steered]
    assert told_targets(rows, 24) == []
    assert [told.places for told in told_targets(rows, 33)] == [[*range(80, 88)]]
