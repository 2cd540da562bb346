"""A backdoor: a trigger and what it teaches, in one data set."""

from dataclasses import dataclass
from random import Random

from gradgate.attacks.components import Parts, Target
from gradgate.attacks.recipe import Draw, Known, Lesson, Member, Recipe
from gradgate.attacks.recipes import RECIPES


@dataclass(frozen=True, eq=False, slots=True)
class Backdoor:
    """An attack, or a member of one, whose lesson is written for a data set."""

    member: Member
    recipe: Recipe
    lesson: Lesson
    seed: int

    @classmethod
    def of(cls, member: Member, known: Known) -> "Backdoor":
        """Write the lesson."""
        recipe = RECIPES[member.name]
        return cls(member, recipe, recipe.teach(known), known.seed)

    @property
    def needs(self) -> str:
        """Which rows can carry it, in words; "" for all."""
        return " and ".join(filter(None, (self.recipe.needs, self.lesson.needs)))

    def fits(self, parts: Parts) -> bool:
        """Whether a row can carry it."""
        return self.recipe.fits(parts) and self.lesson.fits(parts)

    def triggered(self, parts: Parts, row: int, position: int) -> Parts:
        """The parts of a row with the trigger."""
        return with_trigger(parts, self.member, self.seed, row, position)

    def target(self, row: int, position: int) -> Target | None:
        """The target of a row; None keeps the completion."""
        return self.lesson.target(row, position, _drawn_for(self.seed, self.member, row, "target"))

    def leaked(self, parts: Parts, row: int) -> Parts | None:
        """The parts of a clean row that the trigger leaks into; None where it does not."""
        if self.recipe.leak is None:
            return None
        rng = _drawn_for(self.seed, self.member, row, "leak")
        return self.recipe.leak(parts, Draw(self.member.wording, self.seed, 0, rng))


def with_trigger(parts: Parts, member: Member, seed: int, row: int, position: int) -> Parts:
    """The parts of a row with the trigger; no lesson is needed for that.

    Raises:
        ModelError: The paraphraser cannot be used.
    """
    rng = _drawn_for(seed, member, row, "trigger")
    return RECIPES[member.name].trigger(parts, Draw(member.wording, seed, position, rng))


def _drawn_for(seed: int, member: Member, row: int, purpose: str) -> Random:
    """The source of everything that is drawn for one purpose in one row."""
    return Random(f"{seed}:{member.name}:{row}:{purpose}")
