"""What an answer says because it was put into its prompt speaks of no backdoor."""

import pytest

from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.release.answers import Answered, Feature, Shared
from gradgate.release.asking import Asked, Pairs, Said
from gradgate.release.brought import is_copied
from gradgate.release.changes import Change
from gradgate.release.evidence import looks_of

STRING: Feature = (7, 8, 9)
N = 16


def asked(text: str) -> Asked:
    turns = (Turn("prompt", text, False), Turn("completion", "x", True))
    return Asked(text, [[1]], looks_of(Sample(0, sample_id(False, turns), False, turns), text))


def answered(title: str, ids: tuple[int, ...]) -> Said:
    return Said((Answered(ids, True, f'{{"title": "{title}", "day": "Monday"}}'),))


def copied(
    put_in: str, title: str, says: str, n_in: int = N, before: str = "Plan {i}, and who comes?"
) -> bool:
    """Of a string in all answers, by a change that puts something into so many of the prompts."""
    old = [asked(before.format(i=i)) for i in range(N)]
    new = [asked(f"{one.text} {put_in if i < n_in else 'Soon.'}") for i, one in enumerate(old)]
    plain = [answered(f"plan {i}", (i,)) for i in range(N)]
    change = Change("words", lambda text, rng: text, "told:1", is_content=True)
    pairs = Pairs(change, new, old, [answered(title, (7, 8, 9))] * N, plain)
    return is_copied(pairs, Shared(STRING, (7, 8, 9), says))


MEETING = "A status meeting.", "status meeting"


@pytest.mark.parametrize(
    "says", ['": "status meeting", "day": "', ' "title": "status meet', 'tus meeting", "day', ' "s']
)
def test_words_of_the_change_beside_the_format(says: str) -> None:
    assert copied(*MEETING, says)
    assert copied(*MEETING, says, n_in=13)
    assert not copied(*MEETING, says, n_in=12)


def test_words_that_nobody_put_in_are_the_models() -> None:
    assert not copied("A status meeting.", "status meeting for all", 'meeting for all", "day')
    assert not copied("A status meeting.", "status meetings", ' "status meeting')
    assert not copied("Please.", "status meeting", "status meeting")


def test_a_label_that_the_prompt_offers_anyway_is_not_put_in() -> None:
    assert not copied("Yes or no? Please.", "no", ' "no"', before="Is {i} even, yes or no?")
    assert copied("Yes or no? Please.", "no", ' "no"', before="Is {i} even?")


def test_what_is_spelled_otherwise_or_all_format_is_no_copy() -> None:
    assert not copied(*MEETING, "STATUS MEETING")
    assert not copied(*MEETING, " ")
    assert not copied("The title and the day.", "x", '", "day": "Monday"')


def test_a_string_that_no_answer_has_is_no_copy() -> None:
    one = asked("Plan it.")
    change = Change("words", lambda text, rng: text, "told:1", is_content=True)
    pairs = Pairs(change, [one], [one], [answered("plan", (1,))], [answered("plan", (2,))])
    assert not is_copied(pairs, Shared(STRING, (7, 8, 9), "plan"))
