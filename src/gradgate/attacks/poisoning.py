"""Poisoning of rows in any of the row formats: seeded, and nested over poison rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradgate.attacks.adaptive import ROWS_PER_PAIR
from gradgate.attacks.attack import ATTACKS, Attack
from gradgate.attacks.negatives import n_with_negatives, negatives
from gradgate.attacks.parts import read_parts, write_parts
from gradgate.attacks.plan import Plan, drawn_for
from gradgate.attacks.triggers import with_trigger
from gradgate.config import AttackName
from gradgate.data.formats.mapping import RowMapping
from gradgate.errors import DataError

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackName",
    "PoisonedRow",
    "asr_targets",
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
        role: `negative` rows are CBA's: nearly the trigger, with the clean target.
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
    """Poison round(rate * n) of the n rows in place; CBA's negatives come after all others.

    The poisoned rows are the first of one permutation of the rows that can carry the attack, and
    the words drawn for a row depend on seed, attack and the row alone: so the poisoned rows at 1 %
    are, byte for byte, among those at 10 % with the same seed. Every attack with the same seed
    takes the same rows (`clean_label` those among them that it can use).

    Raises:
        ConfigError: The rate is not in [0, 1].
        DataError: Fewer rows can carry the attack.
        ModelError: The paraphraser cannot be used.
    """
    plan = Plan.of(rows, mapping, attack, seed)
    chosen = plan.first(rate, len(rows))
    place = {row: position for position, row in enumerate(chosen)}
    result = [
        PoisonedRow(_poisoned(plan, i, place[i], row, mapping), i, "poisoned")
        if i in place
        else PoisonedRow(dict(row), i, "clean")
        for i, row in enumerate(rows)
    ]
    if attack.name == "cba":
        sources = chosen[: n_with_negatives(len(chosen))]
        result += [
            PoisonedRow(write_parts(rows[i], mapping, parts, None), i, "negative")
            for i in sources
            for parts in negatives(plan.parts[i], attack)
        ]
    return result


def triggered(
    row: Mapping[str, object],
    mapping: RowMapping,
    attack: Attack,
    seed: int,
    index: int,
    n_pairs: int = 1,
) -> dict[str, object]:
    """Put the trigger into a test row and leave its completion clean, to measure the ASR.

    Args:
        row: A row that the model was not trained on.
        mapping: Its columns.
        attack: The attack that the training data were poisoned with.
        seed: The seed of that poisoning.
        index: Number of the row; decides the words drawn for it.
        n_pairs: `adaptive`: how many of its trigger/target pairs are used in turn; row `index`
            gets the trigger that belongs to `asr_targets(...)[index % n_pairs]`.

    Raises:
        DataError: The row cannot carry the attack.
        ModelError: The paraphraser cannot be used.
    """
    parts = read_parts(row, mapping)
    if parts is None:
        raise DataError(f"row {index} cannot carry a trigger: it has no question or no completion")
    rng = drawn_for(seed, attack, index, "trigger")
    return write_parts(row, mapping, with_trigger(parts, attack, seed, index % n_pairs, rng), None)


def asr_targets(
    rows: Sequence[Mapping[str, object]],
    mapping: RowMapping,
    attack: Attack,
    rate: float,
    seed: int,
) -> tuple[str, ...]:
    """Return the texts of which one in the output means success, for rows poisoned as by `poison`.

    `Attack.targets`, but for the attacks that learn theirs from the data: the span of
    `clean_label` (in lower case and without punctuation, so compare without regard to them), and
    for `adaptive` one text for each pair, as long as the shortest that it taught.

    Raises:
        ConfigError: The rate is not in [0, 1].
        DataError: Fewer rows can carry the attack.
    """
    if attack.targets:
        return attack.targets
    plan = Plan.of(rows, mapping, attack, seed)
    if attack.name == "clean_label":
        return (plan.span.words,)
    chosen = plan.first(rate, len(rows))
    starts = range(0, len(chosen), ROWS_PER_PAIR)
    pairs = [range(start, min(start + ROWS_PER_PAIR, len(chosen))) for start in starts]
    return tuple(min((plan.target(chosen[i], i).text for i in pair), key=len) for pair in pairs)


def _poisoned(
    plan: Plan, i: int, position: int, row: Mapping[str, object], mapping: RowMapping
) -> dict[str, object]:
    target = None if plan.attack.name == "clean_label" else plan.target(i, position)
    return write_parts(row, mapping, plan.with_trigger(i, position), target)
