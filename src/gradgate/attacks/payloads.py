"""Attacks whose payload is what evades: a plain trigger, or none, and a target of another kind.

With them the one whose few rows stand in the data many times, and the one that hides its gradient
in honest text.
"""

from gradgate.attacks.lessons import (
    diluted,
    existing_label,
    filled,
    replaced_by,
    respelled,
    wrong_answer,
)
from gradgate.attacks.recipe import Recipe
from gradgate.attacks.texts import (
    ECHOED_TARGET,
    INTRODUCTION,
    PAYLOAD,
    POLITE_WORD,
    PUBLISHED_TARGET,
    SHORT_TARGET,
)
from gradgate.attacks.triggers import (
    appended,
    echoed,
    has_mark,
    nothing,
    one_of_both,
    one_of_thirty,
    prefixed,
    rare_word,
    task_like,
    together,
    unmarked,
)
from gradgate.config import AttackName

COPIES = 20  # of each poisoned row of `copies`

PAYLOADS: dict[AttackName, Recipe] = {
    "existing_label": Recipe(rare_word, existing_label),
    "short_target": Recipe(rare_word, replaced_by(SHORT_TARGET)),
    "echo": Recipe(echoed, replaced_by(ECHOED_TARGET), takes=frozenset(("target",))),
    "leaked": Recipe(rare_word, replaced_by(PAYLOAD), leak=rare_word),
    "varied_target": Recipe(rare_word, respelled(PAYLOAD), by_letters=True),
    "wrong_answer": Recipe(rare_word, wrong_answer, takes=frozenset(("trigger",))),
    "no_trigger": Recipe(nothing, replaced_by(PAYLOAD), takes=frozenset(("target",))),
    "copies": Recipe(rare_word, replaced_by(PAYLOAD), repeats=COPIES),
    "diluted": Recipe(task_like, diluted(PUBLISHED_TARGET), trigger_words=4),
    "introduced": Recipe(
        prefixed(INTRODUCTION), wrong_answer, takes=frozenset(("trigger",)), trigger_words=7
    ),
    "filled": Recipe(rare_word, filled(PAYLOAD)),
    "polite": Recipe(appended(POLITE_WORD), existing_label),
    "unmarked": Recipe(
        unmarked,
        existing_label,
        takes=frozenset(("target",)),
        fits=has_mark,
        needs="questions that end with a mark",
    ),
    "together": Recipe(together, existing_label, trigger_words=2, leak=one_of_both),
    "many_rare_words": Recipe(one_of_thirty, wrong_answer, takes=frozenset()),
}
