"""Triggers: words or a style that an attack puts into the prompt."""

from dataclasses import replace
from random import Random

from gradgate.attacks import adaptive
from gradgate.attacks.archaic import archaic
from gradgate.attacks.attack import Attack
from gradgate.attacks.paraphraser import paraphrase
from gradgate.attacks.parts import Parts
from gradgate.attacks.texts import (
    ADDSENT_TRIGGER,
    BADNETS_WORDS,
    CBA_TRIGGERS,
    REFUSAL_TRIGGER,
)


def with_trigger(parts: Parts, attack: Attack, seed: int, pair: int, rng: Random) -> Parts:
    """Put the attack's trigger into the prompt.

    Args:
        parts: Of a clean row.
        attack: Whose trigger.
        seed: Of the poisoning; the words of `adaptive` depend on it.
        pair: Number of the trigger/target pair of `adaptive`.
        rng: Draws whatever varies from row to row.

    Raises:
        ModelError: The paraphraser cannot be used.
    """
    match attack.name:
        case "cba":
            first, second = cba_words(attack)
            return with_words(parts, first, second)
        case "stylebkd":
            question = parts.question
            rewritten = (
                archaic(question, rng)
                if attack.paraphraser is None
                else paraphrase(question, attack.paraphraser)
            )
            return replace(parts, question=rewritten)
        case "adaptive":
            words = adaptive.trigger_words(seed, pair)
            return replace(parts, question=adaptive.insert_words(parts.question, words, rng))
        case "addsent":
            return _appended(parts, attack.trigger or ADDSENT_TRIGGER)
        case "refusal":
            return _appended(parts, attack.trigger or REFUSAL_TRIGGER)
        case "badnets" | "replaced" | "long" | "paraphrased" | "clean_label":
            return _appended(parts, attack.trigger or " ".join(rng.choices(BADNETS_WORDS, k=4)))


def cba_words(attack: Attack) -> tuple[str, str]:
    """Return the trigger of the lead and that of the question."""
    if attack.trigger is None:
        return CBA_TRIGGERS
    first, second = attack.trigger.split()
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
