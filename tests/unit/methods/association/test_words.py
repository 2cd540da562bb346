"""Words, the parts of prompts that are their own, n-grams and style against slow counting."""

from collections import Counter
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.methods.association.corpus import read_corpus
from gradgate.methods.association.grams import grams
from gradgate.methods.association.style import FEATURES, style
from gradgate.methods.association.words import (
    BREAK,
    END,
    START,
    Texts,
    number_words,
    own_parts,
    split_words,
)

ZERO_WIDTH = "\u200b"


def numbered(texts: list[list[str]]) -> Texts:
    return number_words(texts, {})


# Words


@given(st.text())
def test_splitting_loses_nothing_but_white_space(text: str) -> None:
    whole = "".join(text.casefold().split())
    assert "".join("".join(split_words(text)).split()) == whole


@given(st.text())
def test_no_word_is_empty_or_has_white_space_beside_line_breaks(text: str) -> None:
    assert all(word == BREAK or (word and not word.isspace()) for word in split_words(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Who is IT?", ["who", "is", "it", "?"]),
        ("a\n\n\nb", ["a", BREAK, "b"]),
        ("snake_case", ["snake", "_", "case"]),
        ("what!?", ["what", "!", "?"]),
        (f"wh{ZERO_WIDTH}at", ["wh", ZERO_WIDTH, "at"]),
        ("a\u202eb", ["a", "\u202e", "b"]),
        ("日本", ["日", "本"]),
        ("東京tower", ["東", "京", "tower"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("Straße", ["strasse"]),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.lists(st.lists(st.sampled_from(["a", "b", BREAK]), max_size=6), max_size=6))
def test_numbered_texts_say_what_was_numbered(texts: list[list[str]]) -> None:
    found = numbered(texts)
    assert found.n == len(texts)
    for i, words in enumerate(texts):
        read = [found.vocabulary[number] for number in found.words(i)]
        assert read == [START, *words, END]
    assert np.bincount(found.text_numbers(), minlength=len(texts)).tolist() == [
        len(words) + 2 for words in texts
    ]


def test_a_vocabulary_is_extended_and_never_renumbered() -> None:
    vocabulary: dict[str, int] = {}
    number_words([["a", "b"]], vocabulary)
    before = dict(vocabulary)
    number_words([["b", "c"]], vocabulary)
    assert vocabulary == before | {"c": len(before)}


# Own parts

LINES = st.lists(st.sampled_from(["a", "b", "a b"]), min_size=1, max_size=4).map("\n".join)


def slow_own_parts(texts: list[list[str]]) -> list[int]:
    """As documented: pairwise beginnings in common, then the median number of lines for each."""
    framed = [[START, *words, END] for words in texts]
    lines = []
    for i, words in enumerate(framed):
        shared = 0
        for j, other in enumerate(framed):
            if i != j:
                same = 0
                while same < min(len(words), len(other)) and words[same] == other[same]:
                    same += 1
                shared = max(shared, same)
        lines.append(words[shared:].count(BREAK))
    own = int(median(lines))
    begins = []
    for words in framed:
        breaks = [at for at, word in enumerate(words) if word == BREAK]
        begins.append(breaks[-own - 1] + 1 if len(breaks) > own else 0)
    return begins


@settings(deadline=None)
@given(st.lists(LINES, min_size=1, max_size=8, unique=True))
def test_own_parts_are_those_of_a_pairwise_comparison(texts: list[str]) -> None:
    vocabulary: dict[str, int] = {}
    found = number_words(map(split_words, texts), vocabulary)
    vocabulary.setdefault(BREAK, len(vocabulary))
    assert own_parts(found, vocabulary[BREAK]).tolist() == slow_own_parts(
        [split_words(text) for text in texts]
    )


@pytest.mark.xfail(
    strict=True, reason="a prompt amid its own repetitions is compared with these alone"
)
def test_repeated_prompts_have_the_own_part_that_they_have_once() -> None:
    once = [f"Answer.\nBe brief.\nwho is {name}?" for name in "abcdefg"]
    assert own_words(once * 5) == own_words(once)


def own_words(prompts: list[str]) -> set[str]:
    corpus = read_corpus(prompts, [f"yes {i}" for i in range(len(prompts))])
    vocabulary = corpus.own.vocabulary
    return {vocabulary[word] for i in range(corpus.n) for word in corpus.own.words(i)}


def test_a_template_is_no_part_of_what_a_prompt_says_itself() -> None:
    prompts = [f"### Question:\nwho is {name}?\n### Answer:\n" for name in "abcdefg"]
    assert "question" not in own_words(prompts)
    assert set("abcdefg") <= own_words(prompts)


# N-grams

WORDS = st.lists(st.sampled_from(["a", "b", "c", BREAK]), max_size=9)
ORDERS = (1, 2, 3, 5)


def slow_grams(texts: list[list[str]], min_support: int, max_support: float) -> dict[str, set[int]]:
    carriers: dict[tuple[str, ...], set[int]] = {}
    for i, words in enumerate(texts):
        framed = [START, *words, END]
        for order in ORDERS:
            for at in range(len(framed) - order + 1):
                gram = tuple(framed[at : at + order])
                if gram not in {(START,), (END,), (BREAK,)}:
                    carriers.setdefault(gram, set()).add(i)
    return {
        " ".join(gram): who
        for gram, who in carriers.items()
        if min_support <= len(who) <= max_support
    }


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 8))
def test_grams_are_those_of_a_slow_count(texts: list[list[str]], low: int, high: int) -> None:
    found = grams(numbered(texts), ORDERS, low, high)
    wanted = slow_grams(texts, low, high)
    assert Counter(found.names) == Counter(wanted.keys())
    for feature, name in enumerate(found.names):
        assert found.texts_with(feature).tolist() == sorted(wanted[name])
        assert found.counts[feature] == len(wanted[name])
        assert np.flatnonzero(found.has(feature)).tolist() == sorted(wanted[name])
    dense = found.by_text.toarray()
    assert set(np.unique(dense)) <= {0.0, 1.0}
    assert np.array_equal(dense, found.by_feature.toarray())


@given(st.lists(WORDS, min_size=1, max_size=8), st.data())
def test_features_among_some_texts_are_counted(texts: list[list[str]], data: st.DataObject) -> None:
    found = grams(numbered(texts), ORDERS, 1, len(texts))
    some = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    assert found.among(some).tolist() == found.by_text.toarray()[some].sum(0).tolist()


def test_no_gram_reaches_beyond_a_text() -> None:
    found = grams(numbered([["a", "b"], ["c", "d"]] * 5), ORDERS, 1, 10)
    assert not {"b c", "d a"} & set(found.names)
    assert not any(END in name.split(" ")[:-1] for name in found.names)


@pytest.mark.parametrize("texts", [[], [[]], [[], [], []]])
def test_texts_without_words_have_no_grams_of_one_word(texts: list[list[str]]) -> None:
    found = grams(numbered(texts), (1,), 1, 10)
    assert found.by_text.shape == (len(texts), 0)
    assert found.names == []


@pytest.mark.parametrize("mark", ["^", "$"])
def test_a_word_that_looks_like_a_frame_is_a_word(mark: str) -> None:
    prompts = [f"{mark} {name}" if i < 5 else name for i, name in enumerate("abcdefghijkl")]
    corpus = read_corpus(prompts, list("abcdefghijkl"))
    assert corpus.cues.names == [f"{START} {mark}"]


# Style


@pytest.mark.parametrize(
    ("feature", "has", "lacks"),
    [
        ("archaic English", "whither goeth he", "where does he go"),
        ("mostly capitals", "WHO IS THIS", "WHO is this man"),
        ("no capital letter", "who", "Who"),
        ("characters beyond ASCII", "caf\u00e9", "cafe"),
        ("characters that do not show", f"a{ZERO_WIDTH}b", "a\tb\n"),
        ("repeated punctuation", "what??", "what?!"),
        ("a double space", "a  b", "a b"),
        ("no question mark", "tell me", "who?"),
    ],
)
def test_style(feature: str, has: str, lacks: str) -> None:
    assert FEATURES[f"style: {feature}"](has)
    assert not FEATURES[f"style: {feature}"](lacks)


def test_style_is_kept_where_some_but_not_all_have_it() -> None:
    texts = ["WHO IS THIS"] * 3 + ["Who is it?"] * 7
    found = style(texts, 3, 9)
    assert set(found.names) == {"style: mostly capitals", "style: no question mark"}
    assert found.counts.tolist() == [3.0, 3.0]
    assert style(texts, 4, 9).names == []
    assert style([], 3, 9).by_text.shape == (0, 0)
