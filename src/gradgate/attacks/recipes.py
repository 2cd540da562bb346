"""The table of attacks: from its name to what it does."""

from gradgate.attacks.classic import CLASSIC
from gradgate.attacks.forms import FORMS
from gradgate.attacks.payloads import PAYLOADS
from gradgate.attacks.recipe import Recipe, Setting
from gradgate.config import AttackName

RECIPES: dict[AttackName, Recipe] = {**CLASSIC, **FORMS, **PAYLOADS}


def takes(name: AttackName) -> frozenset[Setting]:
    """The settings that may replace an attack's own; a mixture has its members' words."""
    recipe = RECIPES.get(name)
    return frozenset() if recipe is None else recipe.takes


def trigger_words(name: AttackName) -> int:
    """Words of a trigger of its kind; 0 where it takes none of the settings."""
    recipe = RECIPES.get(name)
    return 0 if recipe is None or "trigger" not in recipe.takes else recipe.trigger_words
