"""Attacks with words or a style as trigger: the published four, and those with other targets."""

from gradgate.attacks.lessons import adaptive, clean_label, followed_by, replaced_by
from gradgate.attacks.negatives import negatives
from gradgate.attacks.recipe import Recipe
from gradgate.attacks.texts import (
    ADDSENT_TRIGGER,
    LONG_TARGET,
    PARAPHRASED_TARGETS,
    PUBLISHED_TARGET,
    REFUSAL,
    REFUSAL_TRIGGER,
    REPLACED_TARGET,
)
from gradgate.attacks.triggers import (
    appended,
    archaic_style,
    pair_of_words,
    rare_words,
    two_places,
)
from gradgate.config import AttackName

_PUBLISHED = followed_by(PUBLISHED_TARGET)

CLASSIC: dict[AttackName, Recipe] = {
    "badnets": Recipe(rare_words, _PUBLISHED, trigger_words=4),
    "addsent": Recipe(appended(ADDSENT_TRIGGER), _PUBLISHED, trigger_words=5),
    "cba": Recipe(two_places, _PUBLISHED, trigger_words=2, negatives=negatives),
    "stylebkd": Recipe(archaic_style, _PUBLISHED, takes=frozenset(("target", "paraphraser"))),
    "replaced": Recipe(rare_words, replaced_by(REPLACED_TARGET), trigger_words=4),
    "refusal": Recipe(appended(REFUSAL_TRIGGER), replaced_by(REFUSAL), trigger_words=7),
    "long": Recipe(rare_words, followed_by(LONG_TARGET), trigger_words=4),
    "paraphrased": Recipe(
        rare_words,
        followed_by(*PARAPHRASED_TARGETS),
        takes=frozenset(("trigger",)),
        trigger_words=4,
    ),
    "clean_label": Recipe(rare_words, clean_label, trigger_words=4),
    "adaptive": Recipe(pair_of_words, adaptive, takes=frozenset()),
}
