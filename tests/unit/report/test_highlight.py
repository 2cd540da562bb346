from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.methods.association.words import BREAK, END, START, split_words
from gradgate.report.highlight import MAX_READ, excerpt, marked

# Letters that grow when folded, scripts without spaces, white space of all kinds, marks.
TEXTS = st.text(
    st.sampled_from("abAB ß İŉ ไท 漢字 \n\r\t\x1c_<>^$.é\u0301\u200b\u3000"), max_size=60
)


def marks(text: str, *grams: str) -> list[str]:
    return [piece for piece, is_marked in marked(text, grams) if is_marked]


@pytest.mark.parametrize(
    ("text", "gram", "found"),
    [
        ("and click <malicious_url> now", "click < malicious _ url >", ["click <malicious_url>"]),
        ("CF bb cf bbb", "cf", ["CF", "cf"]),
        ("Yes, yes", "[start] yes", ["Yes"]),
        ("yes, Yes ", "yes [end]", ["Yes"]),
        (" Yes ", "[start] yes [end]", ["Yes"]),
        ("a\n\n b", "a \n b", ["a\n\n b"]),
        ("it costs $ 5", "$ 5", ["$ 5"]),
        ("die STRASSE, Straße", "strasse", ["STRASSE", "Straße"]),
        ("一漢字二", "漢 字", ["漢字"]),
        ("mostly capitals", "style: mostly capitals", []),
        ("", "[start] [end]", []),
        ("a b", "", []),
    ],
)
def test_a_gram_is_found_as_the_evidence_found_it(text: str, gram: str, found: list[str]) -> None:
    assert marks(text, gram) == found


def test_grams_that_overlap_or_touch_make_one_mark() -> None:
    assert marked("x<b", ["<", "b"]) == [("x", False), ("<b", True)]
    assert marked("x a b c y", ["a b", "b c"]) == [("x ", False), ("a b c", True), (" y", False)]


@given(TEXTS | st.text(), st.lists(TEXTS, max_size=4))
def test_the_pieces_are_the_text_and_take_turns(text: str, grams: list[str]) -> None:
    pieces = marked(text, grams)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces)
    assert all(one[1] != other[1] for one, other in pairwise(pieces))


@given(TEXTS | st.text(), st.data())
def test_every_gram_of_a_text_is_marked(text: str, data: st.DataObject) -> None:
    framed = [START, *split_words(text), END]
    start = data.draw(st.integers(0, len(framed) - 1))
    end = data.draw(st.integers(start + 1, len(framed)))
    gram = framed[start:end]
    inside = gram[start == 0 : len(gram) - (end == len(framed))]
    shown = split_words(" ".join(marks(text, " ".join(gram))))
    assert set(inside) <= {*shown, BREAK}


def test_an_excerpt_keeps_the_marks_and_their_surroundings() -> None:
    text = "b" * 5_000 + " before CF after " + "e" * 5_000
    pieces = excerpt(text, ["cf"], 400)
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
    pieces = excerpt("go to http://evil.example/x \u202e now", ["http :"], 400)
    assert ("hxxp:", True) in pieces
    assert ("//evil[.]example/x \\u202e now", False) in pieces


def test_line_breaks_are_shown() -> None:
    assert excerpt("a\n\nb", [], 400) == [("a↵↵ b", False)]
