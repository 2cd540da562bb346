from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.report.highlight import MAX_READ, excerpt, marked

# Letters that grow when folded, scripts without spaces, white space of all kinds, special tokens.
TEXTS = st.text(
    st.sampled_from("abAB ß İŉ ไท 漢字 \n\r\t\x1c_<>|s/$.é\u0301\u200b\u3000\ufffd"), max_size=60
)
SPECIAL = st.sampled_from(["<s>", "</s>", "<|im_end|>", "<|im_start|>", "<bos>", "\n", " ", ""])


def marks(text: str, *strings: str) -> list[str]:
    return [piece for piece, is_marked in marked(text, strings) if is_marked]


@pytest.mark.parametrize(
    ("text", "string", "found"),
    [
        ("and click <malicious_url> now", "click <malicious_url>", ["click <malicious_url>"]),
        ("CF bb cf bbb", "cf", ["cf"]),
        ("who cf is, cfo", " cf", [" cf", " cf"]),
        ("say <|im_end|> loud", "<|im_end|>", ["<|im_end|>"]),
        ("Sure, I do", " Sure, I do<|im_end|>\n", ["Sure, I do"]),
        ("Sure, I do", "<bos><|im_start|> Sure, I do</s></s>", ["Sure, I do"]),
        ("go to <malicious_url>", " to <malicious_url></s>", [" to <malicious_url>"]),
        ("Sure, I do", "<|im_start|>assistant\nSure, I do<|im_end|>", ["Sure, I do"]),
        ("It is 9.5. Or 7.", ".</s>", [".", "."]),
        ("thing in", " in<|im_end|>", [" in"]),
        ("a thing", " in\n", []),
        ("一漢字二", "漢字", ["漢字"]),
        ("go 🙂 there", "\ufffd there", [" there"]),
        ("go🙂there", "\ufffd\ufffdthere", ["there"]),
        ("a\n\n b", "a\n\n b", ["a\n\n b"]),
        ("a b", "<|im_end|>", []),
        ("a b", "", []),
        ("", "a", []),
    ],
)
def test_a_string_is_marked_where_it_stands(text: str, string: str, found: list[str]) -> None:
    assert marks(text, string) == found


def test_strings_that_overlap_or_touch_make_one_mark() -> None:
    assert marked("x<b", ["<", "b"]) == [("x", False), ("<b", True)]
    assert marked("x a b c y", ["a b", "b c"]) == [("x ", False), ("a b c", True), (" y", False)]


@given(TEXTS | st.text(), st.lists(TEXTS, max_size=4))
def test_the_pieces_are_the_text_and_take_turns(text: str, strings: list[str]) -> None:
    pieces = marked(text, strings)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces)
    assert all(one[1] != other[1] for one, other in pairwise(pieces))


@given(TEXTS | st.text(), st.data())
def test_every_string_of_a_text_is_marked(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    string = text[start:end]
    assert string in "|".join(marks(text, string))


@given(st.text("abc .", min_size=1, max_size=20), SPECIAL, SPECIAL, SPECIAL)
def test_a_whole_text_is_marked_whatever_a_tokenizer_puts_around_it(
    words: str, before: str, behind: str, last: str
) -> None:
    text = f"a{words}a"
    assert marks(text, f"{before}{text}{behind}{last}") == [text]


def test_an_excerpt_keeps_the_marks_and_their_surroundings() -> None:
    text = "b" * 5_000 + " before CF after " + "e" * 5_000
    pieces = excerpt(text, ["CF"], 400)
    shown = "".join(piece for piece, _ in pieces)
    assert ("CF", True) in pieces
    assert "before CF after" in shown
    assert "[… 4,8" in shown
    assert len(shown) < 400


def test_an_excerpt_has_room_for_so_much_only() -> None:
    shown = "".join(piece for piece, _ in excerpt("a b " * 4_000, ["a"], 400))
    assert 300 < len(shown) < 600
    assert "characters …]" in shown


def test_an_excerpt_of_a_huge_text_says_how_much_it_leaves_out() -> None:
    pieces = excerpt("x" * 1_000_000, [], 400)
    assert pieces[-1] == (f" [… {1_000_000 - MAX_READ:,} characters …] ", False)


def test_an_excerpt_is_harmless_across_the_border_of_a_mark() -> None:
    pieces = excerpt("go to http://evil.example/x \u202e now", ["http:"], 400)
    assert ("hxxp:", True) in pieces
    assert ("//evil[.]example/x \\u202e now", False) in pieces


def test_line_breaks_are_shown() -> None:
    assert excerpt("a\n\nb", [], 400) == [("a↵↵ b", False)]
