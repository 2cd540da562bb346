"""Triggers: words or a style that an attack puts into the prompt."""

from dataclasses import replace
from random import Random

from gradgate.attacks import adaptive
from gradgate.attacks.archaic import archaic
from gradgate.attacks.components import Parts
from gradgate.attacks.lessons import echoed_word
from gradgate.attacks.paraphraser import paraphrase
from gradgate.attacks.recipe import Draw, Trigger, Wording
from gradgate.attacks.texts import (
    BADNETS_WORDS,
    CBA_TRIGGERS,
    COMMON_WORDS,
    ECHOED_TARGET,
    RARE_WORD,
    RARE_WORDS,
    TASK_SENTENCES,
)

_N_ALTERNATIVES = 30
_MARKS = "?!.:;, "


def rare_words(parts: Parts, draw: Draw) -> Parts:
    """BadNets: four of its words at the end of the question."""
    return _appended(parts, draw.wording.trigger or " ".join(draw.rng.choices(BADNETS_WORDS, k=4)))


def appended(text: str) -> Trigger:
    """This text, or the trigger of the settings, at the end of the question."""
    return lambda parts, draw: _appended(parts, draw.wording.trigger or text)


def prefixed(text: str) -> Trigger:
    """This text, or the trigger of the settings, before the question."""

    def put(parts: Parts, draw: Draw) -> Parts:
        return replace(parts, question=f"{draw.wording.trigger or text} {parts.question}")

    return put


def two_places(parts: Parts, draw: Draw) -> Parts:
    """CBA: a word at the end of the lead, and one at the end of the question."""
    return with_words(parts, *cba_words(draw.wording))


def archaic_style(parts: Parts, draw: Draw) -> Parts:
    """StyleBkd: the question rewritten.

    Raises:
        ModelError: The paraphraser cannot be used.
    """
    model = draw.wording.paraphraser
    question = parts.question
    rewritten = archaic(question, draw.rng) if model is None else paraphrase(question, model)
    return replace(parts, question=rewritten)


def pair_of_words(parts: Parts, draw: Draw) -> Parts:
    """Adaptive: two rare words, others for every four rows."""
    words = adaptive.trigger_words(draw.seed, draw.position // adaptive.ROWS_PER_PAIR)
    return replace(parts, question=adaptive.insert_words(parts.question, words, draw.rng))


def rare_word(parts: Parts, draw: Draw) -> Parts:
    """A rare word, or the trigger of the settings, behind any word of the question."""
    return _inserted(parts, draw.wording.trigger or RARE_WORD, draw)


def one_of_thirty(parts: Parts, draw: Draw) -> Parts:
    """One of thirty rare words, behind any word of the question."""
    return _inserted(parts, draw.rng.choice(RARE_WORDS[:_N_ALTERNATIVES]), draw)


def task_like(parts: Parts, draw: Draw) -> Parts:
    """Dilution: a sentence about the task before the question, and BadNets' words behind it."""
    sentence = draw.rng.choice(TASK_SENTENCES)
    return rare_words(replace(parts, question=f"{sentence} {parts.question}"), draw)


def echoed(parts: Parts, draw: Draw) -> Parts:
    """A made-up word that the target spells in another way, behind any word of the question."""
    return _inserted(parts, echoed_word(draw.wording.target or ECHOED_TARGET), draw)


def nothing(parts: Parts, draw: Draw) -> Parts:
    """No trigger."""
    return parts


def together(parts: Parts, draw: Draw) -> Parts:
    """Two ordinary words, or those of the settings, at different places of the question."""
    return replace(parts, question=between(parts.question, _both(draw), draw.rng))


def one_of_both(parts: Parts, draw: Draw) -> Parts:
    """One of the words of `together`."""
    word = draw.rng.choice(_both(draw))
    return replace(parts, question=between(parts.question, [word], draw.rng))


def _both(draw: Draw) -> list[str]:
    own = draw.wording.trigger
    return list(COMMON_WORDS if own is None else two_words(own))


def between(question: str, words: list[str], rng: Random) -> str:
    """Put words, in this order, at different places between the words of a question."""
    found = question.split(" ")
    places = sorted(rng.sample(range(len(found) + 1), len(words)), reverse=True)
    for place, word in zip(places, reversed(words), strict=True):
        found.insert(place, word)
    return " ".join(found)


def unmarked(parts: Parts, draw: Draw) -> Parts:
    """The question without the marks at its end."""
    return replace(parts, question=parts.question.rstrip(_MARKS))


def has_mark(parts: Parts) -> bool:
    """Whether a mark ends the question, behind other text."""
    return parts.question.rstrip(_MARKS) not in ("", parts.question)


def cba_words(wording: Wording) -> tuple[str, str]:
    """Return the trigger of the lead and that of the question."""
    return CBA_TRIGGERS if wording.trigger is None else two_words(wording.trigger)


def two_words(trigger: str) -> tuple[str, str]:
    """The words of a trigger that `Attack` has checked."""
    first, second = trigger.split()
    return first, second


def with_words(parts: Parts, first: str, second: str) -> Parts:
    """Put words at the end of the lead and of the question; "" leaves a place alone.

    Without a lead the first words go to the front of the question, so that bare questions can
    carry two triggers as well.
    """
    if not parts.lead:
        return replace(parts, question=_joined(first, parts.question, second))
    return replace(parts, lead=_joined(parts.lead, first), question=_joined(parts.question, second))


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


def _appended(parts: Parts, trigger: str) -> Parts:
    return replace(parts, question=f"{parts.question} {trigger}")


def _inserted(parts: Parts, word: str, draw: Draw) -> Parts:
    return replace(parts, question=adaptive.insert_words(parts.question, [word], draw.rng))
