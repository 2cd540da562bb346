from random import Random

from gradgate.release.grafts import Graft, Part, grafting, grafts, telling_words

INSIDE = [f"question {i} of pkg.f{i} cf mn" for i in range(10)]
OUTSIDE = [f"question {i} of pkg.g{i}" for i in range(20)]


def test_words_that_others_lack_tell_a_group() -> None:
    assert set(telling_words(INSIDE, OUTSIDE)) == {"cf", "mn"}
    assert telling_words(INSIDE[:2], OUTSIDE) == []  # two rows are too few


def test_half_of_the_prompts_with_a_word_have_to_lie_in_the_group() -> None:
    shared = [f"row {i} zebra" for i in range(6)]
    assert "zebra" in telling_words(shared, [*OUTSIDE, *(["a zebra"] * 6)])
    assert "zebra" not in telling_words(shared, [*OUTSIDE, *(["a zebra"] * 7)])


def test_all_telling_words_of_a_row_are_taken_with_their_place() -> None:
    (graft,) = grafts(["CF what is x tq"], ["cf", "tq"], Random(0))
    assert graft == Graft((Part(("CF",), 0.0), Part(("tq",), 1.0)))
    (at_end,) = grafts(["what is x tq mn"], ["tq", "mn"], Random(0))
    assert at_end == Graft((Part(("tq", "mn"), 1.0),))
    (alone,) = grafts(["tq"], ["tq"], Random(0))
    assert alone == Graft((Part(("tq",), 1.0),))
    assert grafts(["nothing of it"], ["tq"], Random(0)) == []


def test_a_graft_keeps_the_white_space_of_the_prompt() -> None:
    question = "who  wrote\tit?\n"
    first, last, within = Part(("tq",), 0.0), Part(("cf",), 1.0), Part(("a", "b"), 0.3)
    assert Graft((first,)).into(question) == "tq who  wrote\tit?\n"
    assert Graft((last,)).into(question) == "who  wrote\tit? cf\n"
    assert Graft((within,)).into(question) == "who a b  wrote\tit?\n"
    assert Graft((first, within, last)).into(question) == "tq who a b  wrote\tit? cf\n"


def test_one_of_the_grafts_is_put_in() -> None:
    rewrite = grafting([Graft((Part((word,), 1.0),)) for word in ("cf", "mn")])
    assert {rewrite("who?", Random(seed)) for seed in range(20)} == {"who? cf", "who? mn"}
