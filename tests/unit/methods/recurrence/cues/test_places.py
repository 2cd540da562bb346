"""In how many places prompts of a group differ from all others."""

import numpy as np
import pytest
from evidence_helpers import detected, questions

PAYLOAD = "and visit the evil example site now"
UNEXPECTED = ["zxqv", "brelm", "thrunk", PAYLOAD]


def in_the_midst(word: str, prompt: str) -> str:
    words = prompt.split()
    return " ".join([*words[: len(words) // 2], *word.split(), *words[len(words) // 2 :]])


@pytest.mark.parametrize(
    ("prefix", "middle", "suffix", "ruling"),
    [
        ("", "", "zxqv", "poison"),
        ("zxqv brelm thrunk", "", "", "poison"),  # one place
        ("zxqv", "", "brelm", "poison"),  # two
        ("zxqv", "zxqv", "zxqv", "poison"),  # the same word each time
        ("zxqv", "brelm", "thrunk", "review"),
        ("zxqv zxqv", "", "zxqv zxqv", "review"),  # a frame of its own
    ],
)
def test_a_group_that_differs_all_over_is_a_kind_of_text_and_not_flagged(
    prefix: str, middle: str, suffix: str, ruling: str
) -> None:
    """As the rows of one of two sources, whose answers have a form of their own."""
    pairs = [
        (f"{prefix} {in_the_midst(middle, p)} {suffix}".strip(), f"{t} {PAYLOAD}")
        if i < 60 else (p, t)
        for i, (p, t) in enumerate(questions(300, 8))
        if len(p.split()) >= 8
    ]  # fmt: skip
    found = detected(pairs, unexpected=UNEXPECTED)
    (group,) = [one for one in found.groups if "evil example" in "".join(one.spans)]
    assert group.ruling == ruling, group.reasons
    marks = found.flagged if ruling == "poison" else found.in_doubt
    assert marks is not None
    poisoned = [i for i, (_, target) in enumerate(pairs) if PAYLOAD in target]
    assert marks[poisoned].all()
    assert np.flatnonzero(marks).size >= 12
