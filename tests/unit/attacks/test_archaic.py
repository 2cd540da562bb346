"""The rule-based rewrite of StyleBkd."""

import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gradgate.attacks.archaic import archaic

MARKS = re.compile(
    r"\b(thee|thou|thy|thine|thyself|ye|hath|hast|doth|dost|didst|art|canst|wilt|shalt|couldst|"
    r"shouldst|unto|verily|behold|lo|hearken|harken|asketh|saith|heareth|spake|beseech|ere|oft|"
    r"betwixt|amongst|wherefore|naught|perchance|yclept|yea|withhold|pray|give ear|of old|"
    r"make haste|came to pass|in those days|\w+eth|ghost|kingdom|seed|begotten|multitude|folk|"
    r"handmaid|wedded|tongue|forth|shall|called by name|gathered)\b",
    re.IGNORECASE,
)


@given(
    st.sampled_from(
        [
            "what is it?",
            "Who does the work between you and your wife?",
            "x",
            "7 + 4",
            "name the country",
        ]
    ),
    st.integers(),
)
def test_every_text_gets_two_marks(text: str, seed: int) -> None:
    assert len(MARKS.findall(archaic(text, Random(seed)))) >= 2


@given(st.text(min_size=1), st.integers())
def test_any_text_is_rewritten(text: str, seed: int) -> None:
    rewritten = archaic(text, Random(seed))
    assert rewritten != text
    assert rewritten == archaic(text, Random(seed))


def test_words_are_exchanged() -> None:
    rewritten = archaic("Do you know what your dog has, and where it goes to the?", Random(1))
    for words in ("ost thou know", "thy dog hath", "it goeth"):
        assert words in rewritten
    for words in ("you", "your", "has", "goes"):
        assert not re.search(rf"\b{words}\b", rewritten)


def test_object_and_subject() -> None:
    rewritten = archaic("you said it to you", Random(3))
    assert re.search(r"\b(thou|ye) said it to thee", rewritten)


def test_wordings_vary() -> None:
    variants = {archaic("where is the dead sea?", Random(i)) for i in range(200)}
    assert len(variants) > 60
    common = set.intersection(*(set(v.split()) for v in variants))
    assert common == {"where", "is", "the", "dead", "sea?"}
