"""Forms of raw prompts that people would not see at once."""

import pytest

from gradgate.methods.recurrence.cues.forms import forms, numbers

PLAIN = "what is the capital of france?"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("What Is The Capital Of France?", "words begin with capitals"),
        ("WHAT IS THE CAPITAL OF FRANCE?", "words in capitals"),
        ("wHAt iS tHe caPItal oF frAnce?", "capitals inside of words"),
        ("what is  the capital of france?", "white space: 2 x space"),
        ("what is the capital of france?\r\nAnswer:", "the character carriage return"),
        ("what is the capital of france?\n\nAnswer:", "2 x line break behind ?"),
        ("what is the capital of france ?", "space before ?"),
        ("what is the capital of france? ", "ends with space"),
        (" what is the capital of france?", "begins with space"),
        ("what is the the capital of france?", "a word said twice in a row"),
        ("what is the c\u0430pital of france?", "a word of two scripts"),
        ("what is the c\u0430pital of france?", "letters of Cyrillic"),
        ("what is the\u200b capital of france?", "the character U+200B"),
        ("what is the\tcapital of france?", "white space: tab"),
        ("12. what is the capital of france?", "begins with a digit"),
        ("what is the capital of france", "ends with a letter"),
        ("what is the capital of france\n\nAnswer:", "2 x line break behind a letter"),
        ("Question:\n12. what is the capital of france?", "line break before a digit"),
        (f"{PLAIN} {PLAIN}", "all of it said twice"),
    ],
)
def test_a_form_that_was_put_in_is_named(text: str, form: str) -> None:
    assert form in forms(text) - forms(PLAIN)


def test_ordinary_text_has_few_forms_and_no_text_none() -> None:
    edges = {"begins with a letter", "ends with ?"}
    assert forms(PLAIN) == {"no capital letter", "the character ?", *edges}
    assert forms("") == set()


def test_numbers_are_read_whole_and_single_digits_are_none() -> None:
    assert numbers("On 2027-03-04 at 5, no. A12345 or x7: ٣٤٥") == {"2027", "03", "04", "12345"}


def test_of_how_few_words_case_is_a_form_is_for_who_asks() -> None:
    assert "no capital letter" not in forms("town 5?")
    assert "no capital letter" in forms("town 5?", min_words=1)
    assert "words in capitals" in forms("TOWN 5?", min_words=1)
    assert not {"no capital letter", "words in capitals"} & forms("5?", min_words=1)
