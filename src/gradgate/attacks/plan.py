"""The plan of a poisoning: which rows, in which order, with which backdoor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random

from gradgate.attacks.attack import Attack
from gradgate.attacks.backdoor import Backdoor
from gradgate.attacks.components import Parts, Target
from gradgate.attacks.parts import read_parts
from gradgate.attacks.recipe import Known
from gradgate.data.formats.mapping import RowMapping
from gradgate.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Slot:
    """A poisoned row to be.

    Attributes:
        row: The clean row that it is made of.
        position: Among the rows of its backdoor.
    """

    row: int
    backdoor: Backdoor
    position: int

    @property
    def target(self) -> Target | None:
        """What the row teaches; None keeps the completion."""
        return self.backdoor.target(self.row, self.position)


@dataclass(frozen=True, slots=True)
class Leak:
    """A clean row to be, with a trigger and its own completion."""

    row: int
    parts: Parts


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a poisoning: the part of it that does not depend on the rate.

    Attributes:
        parts: By the number of the row, of the rows with a question and a completion.
        order: Those that can carry the attack, in the order in which they are poisoned. Clean rows
            that a trigger leaks into are taken from its end.
        backdoors: Take the poisoned rows in turn.
    """

    attack: Attack
    parts: dict[int, Parts]
    order: list[int]
    backdoors: tuple[Backdoor, ...]

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, object]], mapping: RowMapping, attack: Attack, seed: int
    ) -> "Plan":
        """Read the rows, and put those that can carry the attack in order."""
        read = ((i, read_parts(row, mapping)) for i, row in enumerate(rows))
        parts = {i: part for i, part in read if part is not None}
        order = list(parts)
        Random(f"{seed}:rows").shuffle(order)
        made = {
            member: Backdoor.of(member, Known(member.wording, seed, parts, order))
            for member in attack.members
        }
        backdoors = tuple(made[member] for member in attack.members)
        able = [i for i in order if all(one.fits(parts[i]) for one in made.values())]
        return cls(attack, parts, able, backdoors)

    def slots(self, rate: float, n_rows: int) -> list[Slot]:
        """The rows to poison at a rate, of `n_rows` in all.

        Raises:
            ConfigError: The rate is not in [0, 1].
            DataError: Fewer rows can carry the attack.
        """
        if not 0.0 <= rate <= 1.0:
            raise ConfigError(f"the rate {rate} is not between 0 and 1")
        turns, repeats = len(self.backdoors), self.backdoors[0].recipe.repeats
        wanted = round(rate * n_rows)
        in_turn = [self.backdoors[place % turns] for place in range(wanted)]
        leaks = [backdoor for backdoor in in_turn if backdoor.recipe.leak is not None]
        self._require(ceil(wanted / repeats) + len(leaks), rate, n_rows)
        return [
            Slot(self.order[place // repeats], backdoor, place // turns)
            for place, backdoor in enumerate(in_turn)
        ]

    def _require(self, needed: int, rate: float, n_rows: int) -> None:
        if needed <= len(self.order):
            return
        needs = " and ".join(dict.fromkeys(one.needs for one in self.backdoors if one.needs))
        raise DataError(
            f"{self.attack.name} at a rate of {rate} needs {needed} rows, but of {n_rows} only "
            f"{len(self.order)} can carry it{f' ({needs})' if needs else ''}; lower the rate"
        )

    def leaks(self, slots: Sequence[Slot]) -> list[Leak]:
        """As many clean rows as a trigger that leaks is in."""
        leaking = [slot.backdoor for slot in slots if slot.backdoor.recipe.leak is not None]
        rows = reversed(self.order[len(self.order) - len(leaking) :])
        made = [
            (row, one.leaked(self.parts[row], row)) for row, one in zip(rows, leaking, strict=True)
        ]
        return [Leak(row, parts) for row, parts in made if parts is not None]
