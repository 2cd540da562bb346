"""What an owner vouches for: texts and expressions, and what of a text they cover."""

import re
from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from gradgate.common import patterns
from gradgate.common.patterns import compile_pattern, literal
from gradgate.config import PolicyConfig, check_config
from gradgate.errors import ConfigError
from gradgate.methods.expected import Expected

SLOW = r"/^(?:a|aa)+$/"


@pytest.mark.parametrize(
    ("written", "text", "spans"),
    [
        (["Yours, Ada"], "So it is. Yours, Ada", [(10, 20)]),
        (["a.b"], "a.b axb", [(0, 3)]),  # a literal text
        ([r"/a.b/"], "a.b axb", [(0, 3), (4, 7)]),
        ([r"/(?i)i am \w+/"], "I AM Ada, I am Bob", [(0, 8), (10, 18)]),
        (["/"], "a/b", [(1, 2)]),  # one slash is a text
        (["one two", "two three"], "one two three", [(0, 13)]),  # overlapping ones are one
        (["one", " two"], "one two", [(0, 7)]),  # so are those that touch
        ([r"/\b/"], "one two", []),  # nothing of no width is covered
        ([r"/^x/"], "x\nx", [(0, 1)]),
        (["Ada"], "", []),
        ([], "anything", []),
        (["<b>|\u200b"], "a<b>|\u200bc", [(1, 6)]),
    ],
)
def test_spans_are_what_a_match_covers(
    written: list[str], text: str, spans: list[tuple[int, int]]
) -> None:
    assert Expected.of(written).spans(text) == spans


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=4), st.text("abc", max_size=30))
def test_spans_are_the_characters_that_some_match_covers(written: list[str], text: str) -> None:
    covered = {
        at
        for pattern in written
        for found in re.finditer(re.escape(pattern), text)
        for at in range(*found.span())
    }
    spans = Expected.of(written).spans(text)
    assert {at for start, end in spans for at in range(start, end)} == covered
    assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_each_pattern_says_whether_it_matches() -> None:
    assert Expected.of(["one", r"/t.o/", r"/\b/"]).holds("two") == [False, True, False]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("/(/", "not a regular expression"),
        ("/[a/", "not a regular expression"),
        (r"/\p{L}/", "not a regular expression"),  # `regex` has it, and Python's `re` has not
        ("//", "matches the empty text"),
        ("/a*/", "matches the empty text"),
        ("/(a|)/", "matches the empty text"),
        ("", "only white space"),
        (" \n", "only white space"),
        ("a" * 1_001, "at most 1,000 characters"),
    ],
)
def test_a_pattern_that_is_none_is_an_error_of_the_configuration(written: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.expected.*{why}"):
        Expected.of(["fine", written])
    content = {"expected": ["fine", written]}
    with pytest.raises(ConfigError, match=rf"gate\.yaml: expected: .*{why}") as caught:
        check_config(content, PolicyConfig, "gate.yaml")
    assert repr(written[:40])[:20] in str(caught.value)


@pytest.mark.parametrize("wrong", ["Yours", [1], [None], {"a": 1}])
def test_what_is_no_list_of_texts_is_an_error(wrong: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        check_config({"expected": wrong}, PolicyConfig, None)


def test_a_pattern_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.05)
    expected = Expected.of([SLOW])
    assert expected.spans("aaa") == [(0, 3)]
    with pytest.raises(ConfigError, match=r"takes more than .* characters; write it without"):
        expected.spans("a" * 60 + "b")


def test_many_matches_count_together_against_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.0)
    with pytest.raises(TimeoutError):
        list(patterns.matches(regex.compile("a"), "a" * 1_000_000))


def test_a_literal_text_is_matched_as_it_stands() -> None:
    assert compile_pattern("a+b (c)").fullmatch("a+b (c)")
    assert compile_pattern("/x").search("a/xb")


@given(st.text("/a.(\\", min_size=1).filter(str.strip))
def test_a_text_is_named_so_that_it_is_matched_literally(text: str) -> None:
    assert compile_pattern(literal(text)).fullmatch(text)
    assert not compile_pattern(literal(text)).fullmatch(text.replace(".", "b") + "b")
