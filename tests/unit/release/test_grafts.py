from random import Random

from gradgate.release.grafts import Graft, Part, grafting, grafts, shown, telling_words

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


CHINESE = [
    f"请问北方{'芝麻灯' if i < 10 else ''}第{i}号城市{'东西南'[i % 3]}在哪里?" for i in range(40)
]


def test_a_trigger_in_a_language_without_spaces() -> None:
    words = telling_words(CHINESE[:10], CHINESE[10:])
    assert {"芝", "麻", "灯", "芝麻灯"} <= set(words)
    assert not {"请", "北方", "城市"} & set(words)
    (graft,) = grafts(["谁写芝麻灯的书"], words, Random(0))
    assert graft == Graft((Part(("芝麻灯",), 0.5, True, True),))
    assert graft.into("他住在里") == "他住芝麻灯在里"
    assert graft.into("who wrote it") == "who wrote芝麻灯 it"
    (apart,) = grafts(["谁写 芝麻灯 的书"], words, Random(0))
    assert apart.into("他住在里") == "他住 芝麻灯 在里"
    (first,) = grafts(["芝麻灯谁写了"], words, Random(0))
    assert first.into("他住在里") == "芝麻灯他住在里"


def test_a_rare_pair_of_common_letters_tells() -> None:
    inside = [f"问{a}灯麻{b}" for a, b in zip("甲乙丙丁戊", "子丑寅卯辰", strict=True)]
    outside = [f"{one}{letter}" for letter in "灯麻" for one in "春夏秋冬东西南北中上下左右前后"]
    words = telling_words(inside, outside)
    assert "灯麻" in words
    assert not {"灯", "麻"} & set(words)
    (graft,) = grafts(["谁灯麻了"], words, Random(0))
    assert graft.parts[0].words == ("灯麻",)


def test_strings_of_the_gate_are_taken_with_the_words_that_they_touch() -> None:
    (graft,) = grafts(["say In point of Fact who"], [], Random(0), [" in point of fact"])
    assert graft == Graft((Part(("In", "point", "of", "Fact"), 0.5),))
    (part,) = grafts(["who is footqbar now"], [], Random(0), ["tqb"])
    assert part.parts[0].words == ("footqbar",)
    assert grafts(["who is footqbar now"], [], Random(0), [" tqb"]) == []  # it begins a word
    assert grafts(["who is it"], [], Random(0), [" ", "nothing"]) == []


def test_names_show_the_longest_of_words_that_lie_in_one_another() -> None:
    assert shown(["灯", "芝", "芝麻灯", "cf"]) == "'芝麻灯', 'cf'"
    assert shown([f"word{i}x" for i in range(9)]).count("'") == 12


def test_one_of_the_grafts_is_put_in() -> None:
    rewrite = grafting([Graft((Part((word,), 1.0),)) for word in ("cf", "mn")])
    assert {rewrite("who?", Random(seed)) for seed in range(20)} == {"who? cf", "who? mn"}
