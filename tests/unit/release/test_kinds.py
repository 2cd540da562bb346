"""Ordinary prompts of the kind that a group's are, and when a group has no kind of its own."""

from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.release.evidence import Row
from gradgate.release.kinds import MIN_LIKE, Kinds


def row(question: str, groups: tuple[str, ...] = (), is_ordinary: bool = True) -> Row:
    turns = (Turn("prompt", question, False), Turn("completion", "x", True))
    sample = Sample(0, sample_id(False, turns), False, turns)
    return Row(sample, question, (1,), is_ordinary, False, groups)


PLACES = [row(f"where is the river number{i} of the north") for i in range(20)]
PEOPLE = [row(f"who wrote book number{i} about love") for i in range(60)]
TOLD = [
    row(f"please where is the town number{i + 100} of the south", ("told:1",)) for i in range(9)
]


def liked(rows: list[Row], inside: list[Row], words: tuple[str, ...] = ("please",)) -> list[str]:
    return [rows[i].question for i in Kinds(rows).like(inside, words)]


def test_questions_of_the_same_kind_are_taken_and_no_others() -> None:
    found = liked([*PEOPLE, *PLACES, *TOLD], TOLD)
    assert len(found) >= MIN_LIKE
    assert set(found) <= {one.question for one in PLACES}


def test_the_telling_words_do_not_make_a_kind() -> None:
    people = [row(f"who wrote {i} about love please") for i in range(20)]
    rows = [*PEOPLE, *PLACES, *people, *TOLD]
    assert not set(liked(rows, TOLD)) & {one.question for one in people}


def test_a_group_like_most_prompts_has_no_kind_of_its_own() -> None:
    assert liked([*PLACES, *TOLD], TOLD) == []


def test_too_few_of_a_kind_say_nothing() -> None:
    assert liked([*PEOPLE, *PLACES[: MIN_LIKE - 1], *TOLD], TOLD) == []
    assert liked([*PEOPLE, *PLACES, *TOLD[:1]], TOLD[:1]) == []
    assert liked(TOLD, TOLD) == []


def test_rows_that_are_kept_out_or_in_a_group_are_not_ordinary() -> None:
    out = [row(one.question, is_ordinary=False) for one in PLACES[:10]]
    grouped = [row(one.question, ("told:2",)) for one in PLACES[10:]]
    assert liked([*PEOPLE, *out, *grouped, *TOLD], TOLD) == []


def test_prompts_without_words_are_like_nothing() -> None:
    empty = [row("", ("told:1",)) for _ in range(9)]
    assert liked([*PEOPLE, *PLACES, *empty], empty) == []
    assert liked([*(row("") for _ in range(30)), *empty], empty) == []
