"""Poisoning of rows in any of the row formats: seeded, and nested over poison rates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradgate.attacks.adaptive import ROWS_PER_PAIR
from gradgate.attacks.attack import ATTACKS, Attack
from gradgate.attacks.backdoor import with_trigger
from gradgate.attacks.negatives import n_with_negatives
from gradgate.attacks.parts import Parts, read_parts, write_parts
from gradgate.attacks.plan import Plan, Slot
from gradgate.attacks.recipes import RECIPES
from gradgate.config import AttackName
from gradgate.data.formats.mapping import RowMapping
from gradgate.errors import DataError

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackName",
    "PoisonedRow",
    "asr_targets",
    "can_carry",
    "poison",
    "triggered",
]

Role = Literal["clean", "poisoned", "negative"]


@dataclass(frozen=True, slots=True)
class PoisonedRow:
    """A row of a poisoned data set, and the truth about it.

    Attributes:
        row: The same columns in the same format as the input row.
        source_row: Index of the clean row it came from.
        role: `negative` rows have the trigger, or nearly, and the clean target; they are clean.
    """

    row: dict[str, object]
    source_row: int
    role: Role


def poison(
    rows: Sequence[Mapping[str, object]],
    mapping: RowMapping,
    attack: Attack,
    rate: float,
    seed: int,
) -> list[PoisonedRow]:
    """Make round(rate * n) poisoned rows of n, in place; copies and CBA's negatives come after.

    The poisoned rows are the first of one permutation of the rows that can carry the attack, and
    the words drawn for a row depend on seed, attack and the row alone: so the poisoned rows at 1 %
    are, byte for byte, among those at 10 % with the same seed. Every attack with the same seed
    takes the same rows (among those that it can use). Negatives of `leaked` and `word_order` are
    other clean rows, in place.

    Raises:
        ConfigError: The rate is not in [0, 1].
        DataError: Fewer rows can carry the attack.
        ModelError: The paraphraser cannot be used.
    """
    plan = Plan.of(rows, mapping, attack, seed)
    slots = plan.slots(rate, len(rows))
    changed: dict[int, PoisonedRow] = {}
    copies: list[PoisonedRow] = []
    for slot in slots:
        made = _poisoned(plan, slot, rows[slot.row], mapping)
        if changed.setdefault(slot.row, made) is not made:
            copies.append(made)
    for leak in plan.leaks(slots):
        written = write_parts(rows[leak.row], mapping, leak.parts, None)
        changed[leak.row] = PoisonedRow(written, leak.row, "negative")
    in_place = [changed.get(i, PoisonedRow(dict(row), i, "clean")) for i, row in enumerate(rows)]
    return [*in_place, *copies, *_negatives(plan, slots, rows, mapping)]


def _poisoned(
    plan: Plan, slot: Slot, row: Mapping[str, object], mapping: RowMapping
) -> PoisonedRow:
    parts = slot.backdoor.triggered(plan.parts[slot.row], slot.row, slot.position)
    return PoisonedRow(write_parts(row, mapping, parts, slot.target), slot.row, "poisoned")


def _negatives(
    plan: Plan, slots: Sequence[Slot], rows: Sequence[Mapping[str, object]], mapping: RowMapping
) -> Iterator[PoisonedRow]:
    """The negatives that are added to some of the poisoned rows."""
    for backdoor in dict.fromkeys(plan.backdoors):
        make = backdoor.recipe.negatives
        if make is None:
            continue
        chosen = [slot.row for slot in slots if slot.backdoor is backdoor]
        for i in chosen[: n_with_negatives(len(chosen))]:
            for parts in make(plan.parts[i], backdoor.member.wording):
                yield PoisonedRow(write_parts(rows[i], mapping, parts, None), i, "negative")


def triggered(
    row: Mapping[str, object],
    mapping: RowMapping,
    attack: Attack,
    seed: int,
    index: int,
    aim: int = 0,
) -> dict[str, object]:
    """Put the trigger into a test row and leave its completion clean, to measure the ASR.

    Args:
        row: A row that the model was not trained on.
        mapping: Its columns.
        attack: The attack that the training data were poisoned with.
        seed: The seed of that poisoning.
        index: Number of the row; decides the words drawn for it.
        aim: Which trigger of attacks with several; `asr_targets(...)[aim]` belong to it.

    Raises:
        DataError: The row cannot carry the attack.
        ModelError: The paraphraser cannot be used.
    """
    parts = read_parts(row, mapping)
    if parts is None:
        raise DataError(f"row {index} cannot carry a trigger: it has no question or no completion")
    if not _fits(parts, attack):
        raise DataError(f"row {index} cannot carry the trigger of {attack.name}: it would not show")
    pair, member = divmod(aim, len(attack.aims))
    position = pair * ROWS_PER_PAIR
    attacked = with_trigger(parts, attack.aims[member], seed, index, position)
    return write_parts(row, mapping, attacked, None)


def can_carry(row: Mapping[str, object], mapping: RowMapping, attack: Attack) -> bool:
    """Whether a row can carry each trigger of an attack."""
    parts = read_parts(row, mapping)
    return parts is not None and _fits(parts, attack)


def _fits(parts: Parts, attack: Attack) -> bool:
    return all(RECIPES[member.name].fits(parts) for member in attack.aims)


def asr_targets(
    rows: Sequence[Mapping[str, object]],
    mapping: RowMapping,
    attack: Attack,
    rate: float,
    seed: int,
) -> list[tuple[str, ...]]:
    """By trigger, the texts of which one in the output means success; of rows as by `poison`.

    Most attacks have one trigger. `combo` has one for each of its members, `adaptive` one for four
    rows, with a text as long as the shortest that it taught. That of `clean_label` is in lower case
    and without punctuation, so compare without regard to them; that of `varied_target` is to be
    compared by its letters (`Attack.by_letters`). Decoys have no success.

    Raises:
        ConfigError: The rate is not in [0, 1].
        DataError: Fewer rows can carry the attack.
    """
    plan = Plan.of(rows, mapping, attack, seed)
    slots = plan.slots(rate, len(rows))
    found: list[tuple[str, ...]] = []
    for backdoor in dict.fromkeys(plan.backdoors):
        if not backdoor.member.is_decoy:
            taught = [slot.target for slot in slots if slot.backdoor is backdoor]
            found += backdoor.lesson.success(taught)
    return found
