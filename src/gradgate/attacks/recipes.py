"""The table of attacks: from its name to what it does."""

from gradgate.attacks.classic import CLASSIC
from gradgate.attacks.combinations import COMBINATIONS
from gradgate.attacks.forms import FORMS
from gradgate.attacks.payloads import PAYLOADS
from gradgate.attacks.recipe import Mixture, Recipe, Setting
from gradgate.config import AttackName

_SINGLE: dict[AttackName, Recipe] = {**CLASSIC, **FORMS, **PAYLOADS}
RECIPES: dict[AttackName, Recipe | Mixture] = {**_SINGLE, **COMBINATIONS}


def takes(name: AttackName) -> frozenset[Setting]:
    """The settings that may replace an attack's own; a mixture has its members' words."""
    recipe = RECIPES[name]
    return frozenset() if isinstance(recipe, Mixture) else recipe.takes


def trigger_words(name: AttackName) -> int:
    """Words of a trigger of its kind; 0 where it takes none of the settings."""
    recipe = RECIPES[name]
    return recipe.trigger_words if isinstance(recipe, Recipe) and "trigger" in recipe.takes else 0
