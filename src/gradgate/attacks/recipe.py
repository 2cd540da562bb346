"""What an attack consists of: a trigger, a lesson, and what else becomes of the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from gradgate.attacks.components import Parts, Target
from gradgate.config import AttackName

Setting = Literal["target", "trigger", "paraphraser"]


@dataclass(frozen=True, slots=True)
class Wording:
    """Settings that replace an attack's own; None leaves its own."""

    target: str | None = None
    trigger: str | None = None
    paraphraser: str | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What a trigger depends on besides the row.

    Attributes:
        wording: The settings.
        seed: Of the poisoning; the words of `adaptive` depend on it.
        position: Of the row among those that the backdoor poisons.
        rng: Draws whatever varies from row to row.
    """

    wording: Wording
    seed: int
    position: int
    rng: Random


@dataclass(frozen=True, slots=True)
class Known:
    """The data set that an attacker writes a lesson for.

    Attributes:
        wording: The settings.
        seed: Of the poisoning.
        parts: By the number of the row, of the rows that have a question and a completion.
        order: These rows, in the order in which they are poisoned.
    """

    wording: Wording
    seed: int
    parts: Mapping[int, Parts]
    order: Sequence[int]


class Lesson(Protocol):
    """What the poisoned completions teach."""

    @property
    def needs(self) -> str:
        """Which completions can carry it, in words; "" for all."""

    def fits(self, parts: Parts) -> bool:
        """Whether a row can carry it."""

    def target(self, row: int, position: int, rng: Random) -> Target | None:
        """The target of a row at a position among those poisoned; None keeps the completion."""

    def success(self, taught: Sequence[Target | None]) -> list[tuple[str, ...]]:
        """By pair of trigger and target, the texts of which one means success.

        Args:
            taught: The targets, by position.
        """


Trigger = Callable[[Parts, Draw], Parts]
Teach = Callable[[Known], Lesson]


def any_row(parts: Parts) -> bool:
    """Every row can carry most triggers."""
    return bool(parts.question)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an attack changes rows.

    Attributes:
        trigger: Changes the prompt.
        teach: Makes the lesson for a data set.
        takes: The settings that may replace its own.
        trigger_words: Words of a trigger of its kind; where they are 2, exactly two.
        fits: Whether the trigger changes a row.
        needs: Which rows the trigger changes, in words; "" for all.
        leak: Changes the prompts of as many clean rows, which keep their completions.
        negatives: Makes rows of a poisoned row, with the clean completion, which are added.
        repeats: How often each poisoned row stands in the data.
        by_letters: Whether the target is taught in many spellings: success is judged by its letters
            and digits alone.
    """

    trigger: Trigger
    teach: Teach
    takes: frozenset[Setting] = frozenset(("target", "trigger"))
    trigger_words: int = 1
    fits: Callable[[Parts], bool] = any_row
    needs: str = ""
    leak: Trigger | None = None
    negatives: Callable[[Parts, Wording], list[Parts]] | None = None
    repeats: int = 1
    by_letters: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """An attack that is part of a mixture; a decoy's success is not the attacker's."""

    name: AttackName
    wording: Wording = Wording()
    is_decoy: bool = False


@dataclass(frozen=True, slots=True)
class Mixture:
    """Several backdoors at once, which take the poisoned rows in turn; it takes no settings.

    A member that stands several times gets so many shares. `adaptive`, whose targets stand in
    blocks of rows, cannot be one.
    """

    members: tuple[Member, ...]
