"""What becomes of a group: each stands for itself, and what is not known is in doubt."""

import math
from dataclasses import replace

import pytest

from gradgate.methods.evidence import Association, GroupRuling
from gradgate.methods.recurrence.questions.asking import NO_ANSWER, NO_NEED, Answer, Content, Need
from gradgate.methods.recurrence.ruling import (
    Cause,
    rule_on_label,
    rule_on_prompt,
    rule_on_target,
)

FORM = math.inf
YES, NO, UNSURE = Answer(12.0, 8, 8), Answer(-1.0, 2, 8), Answer(12.0, 4, 8)


def cause(nats: float = 9.0, phi: float = 1.0) -> Cause:
    table = Association(1_000, 100, 100, 100, phi, 1e6, (1e5, 1e7), 1e-50)
    return Cause("any_of", ["cf"], table, nats)


@pytest.mark.parametrize(
    ("n_clusters", "why", "content", "need", "ruling"),
    [
        (100, cause(), NO, NO, "poison"),
        (100, cause(), NO, NO_ANSWER, "poison"),
        (100, cause(), NO, YES, "review"),  # an instruction that asks for a fixed text
        (100, cause(), YES, NO, "honest"),  # the model itself expects it of these prompts
        (100, cause(), UNSURE, NO, "poison"),
        (100, None, NO, NO_ANSWER, "review"),  # nothing visible explains it
        (100, None, NO_ANSWER, NO_ANSWER, "review"),
        (100, cause(nats=2.0), NO, NO, "review"),  # words that belong
        (100, cause(nats=FORM), NO, NO, "review"),
        (100, cause(phi=0.5), NO, NO, "review"),
        (7, cause(), NO, NO, "review"),
        (100, replace(cause(), is_kind=True), NO, NO, "review"),
    ],
)
def test_a_string_of_targets(
    n_clusters: int, why: Cause | None, content: Answer, need: Answer, ruling: GroupRuling
) -> None:
    found = rule_on_target(n_clusters, 20.0, ["now"], why, Content(content, content), lambda: need)
    assert found[0] == ruling


@pytest.mark.parametrize(
    ("new", "ruling"), [(YES, "honest"), (NO, "review"), (replace(YES, nats=1.9), "review")]
)
def test_what_explains_copies_alone_explains_nothing(new: Answer, ruling: GroupRuling) -> None:
    assert rule_on_target(100, 20.0, ["now"], None, Content(YES, new), lambda: NO)[0] == ruling


@pytest.mark.parametrize(
    ("why", "content", "answer", "rest", "besides", "ruling"),
    [
        (cause(), NO_ANSWER, NO, NO, 1.0, "poison"),
        (cause(), NO_ANSWER, NO, NO, 0.5, "review"),  # what the prompts are about
        (cause(), NO_ANSWER, NO_ANSWER, NO_ANSWER, 1.0, "review"),
        (cause(), NO_ANSWER, YES, NO, 1.0, "honest"),
        (cause(), NO_ANSWER, NO, YES, 1.0, "review"),
        (cause(), NO, NO, NO, 1.0, "poison"),
        (cause(), UNSURE, NO, NO, 1.0, "poison"),
        (replace(cause(), is_kind=True), NO, NO, NO, 1.0, "review"),
        (cause(phi=0.5), YES, NO, NO, 1.0, "honest"),  # a script, by all that is said of it
        (cause(phi=0.5), NO_ANSWER, NO, NO, 1.0, "review"),  # one direction only
        (cause(nats=2.0), NO_ANSWER, NO, NO, 1.0, "review"),  # others say it at the same place
        (cause(nats=FORM), NO, NO_ANSWER, NO_ANSWER, 1.0, "review"),
        (cause(nats=FORM), YES, NO_ANSWER, NO_ANSWER, 1.0, "honest"),
    ],
)
def test_a_cue_that_tells_a_label(
    why: Cause, content: Answer, answer: Answer, rest: Answer, besides: float, ruling: GroupRuling
) -> None:
    assert rule_on_label("now", why, content, answer, rest, besides)[0] == ruling


@pytest.mark.parametrize(
    ("n_label", "n_form", "n_both", "ruling"),
    [
        (700, 700, 600, "honest"),  # addresses in lines, and a key of JSON
        (700, 700, 599, "review"),
        (700, 100, 95, "review"),  # title case, and the label of most reviews
    ],
)
def test_a_form_and_a_label_that_most_samples_have_are_the_format_of_the_data(
    n_label: int, n_form: int, n_both: int, ruling: GroupRuling
) -> None:
    table = Association(1_000, n_label, n_form, n_both, 0.9, 1e6, (1e5, 1e7), 1e-50)
    why = Cause("any_of", ["form: title case"], table, FORM)
    assert rule_on_label("now", why, NO, NO_ANSWER, NO_ANSWER, 1.0)[0] == ruling


@pytest.mark.parametrize(
    ("cue", "span", "ruling"),
    [
        (" positive or negative?", "gative", "review"),
        ("\nIs it Positive or Negative?", " negative", "review"),
        (" cf", "visit the site", "poison"),
        (" no", "no", "poison"),  # too short to say
        (" no", "?!", "poison"),
    ],
)
def test_a_question_that_offers_the_answer_leaves_doubt(
    cue: str, span: str, ruling: GroupRuling
) -> None:
    why = replace(cause(), cues=[cue])
    assert rule_on_target(100, 20.0, [span, "z"], why, Content(NO, NO), lambda: NO)[0] == ruling
    assert rule_on_label(span, why, NO_ANSWER, NO, NO, 1.0)[0] == ruling


@pytest.mark.parametrize(
    ("need", "ruling"),
    [
        (NO_NEED, "review"),
        (Need(NO, NO, NO), "review"),
        (Need(UNSURE, NO, NO), "review"),
        (Need(YES, NO, NO), "honest"),
        (Need(NO, YES, NO), "honest"),
        (Need(Answer(2.9, 8, 8), NO, NO), "review"),
        (Need(Answer(3.0, 8, 8), NO, NO), "honest"),
        (Need(NO, Answer(0.9, 8, 8), NO), "review"),
        (Need(NO, Answer(1.0, 8, 8), NO), "honest"),
        (Need(NO, NO, Answer(30.0, 8, 8)), "review"),  # another beginning does as well
    ],
)
def test_a_string_of_prompts(need: Need, ruling: GroupRuling) -> None:
    assert rule_on_prompt(need, None, None)[0] == ruling


@pytest.mark.parametrize(
    ("begins", "nats", "ruling"),
    [(0.29, 1.0, "honest"), (0.29, 0.9, "review"), (0.3, 30.0, "review"), (1.0, 30.0, "review")],
)
def test_what_follows_needs_no_string_where_it_is_a_prompt_by_itself(
    begins: float, nats: float, ruling: GroupRuling
) -> None:
    """As behind "Here is my question:"."""
    assert rule_on_prompt(Need(NO, Answer(nats, 8, 8), NO), begins, None)[0] == ruling
    assert rule_on_prompt(Need(YES, NO, NO), begins, None)[0] == "honest"
