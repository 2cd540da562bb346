"""The plan of a poisoning: which rows, in which order, with which trigger and target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from gradgate.attacks.adaptive import ROWS_PER_PAIR, CompletionWords, words_of
from gradgate.attacks.attack import Attack
from gradgate.attacks.clean_label import Span, frequent_span
from gradgate.attacks.components import Parts, Target
from gradgate.attacks.parts import read_parts
from gradgate.attacks.triggers import with_trigger
from gradgate.data.formats.mapping import RowMapping
from gradgate.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a poisoning: the part of it that does not depend on the rate.

    Attributes:
        parts: By the number of the row, of the rows that can carry the attack.
        order: These rows, in the order in which they are poisoned.
        span: `clean_label`: the span that the completions hold.
        corpus: `adaptive`: the words that targets are made of; empty otherwise.
    """

    attack: Attack
    seed: int
    parts: dict[int, Parts]
    order: list[int]
    span: Span
    corpus: CompletionWords

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, object]], mapping: RowMapping, attack: Attack, seed: int
    ) -> "Plan":
        """Read the rows, and put those that can carry the attack in order."""
        read = ((i, read_parts(row, mapping)) for i, row in enumerate(rows))
        parts = {i: part for i, part in read if part is not None}
        order = list(parts)
        Random(f"{seed}:rows").shuffle(order)
        span, corpus = Span.of(""), CompletionWords((), ())
        if attack.name == "clean_label":
            completions = [part.completion for part in parts.values()]
            span = Span.of(attack.target) if attack.target else frequent_span(completions)
            order = [i for i in order if span.is_in(parts[i].completion)]
        if attack.name == "adaptive":
            corpus = CompletionWords.of(part.completion for part in parts.values())
            order = [i for i in order if words_of(parts[i].completion)]
        return cls(attack, seed, parts, order, span, corpus)

    def first(self, rate: float, n_rows: int) -> list[int]:
        """The rows to poison at a rate, of `n_rows` in all.

        Raises:
            ConfigError: The rate is not in [0, 1].
            DataError: Fewer rows can carry the attack.
        """
        if not 0.0 <= rate <= 1.0:
            raise ConfigError(f"the rate {rate} is not between 0 and 1")
        wanted = round(rate * n_rows)
        if wanted > len(self.order):
            span = f" (completions that hold {self.span.words!r})" if self.span.words else ""
            raise DataError(
                f"{self.attack.name} at a rate of {rate} needs {wanted} rows, but of {n_rows} only "
                f"{len(self.order)} can carry it{span}; lower the rate"
            )
        return self.order[:wanted]

    def with_trigger(self, i: int, position: int) -> Parts:
        """The parts of row i, poisoned at this position in the order, with its trigger."""
        rng = drawn_for(self.seed, self.attack, i, "trigger")
        pair = position // ROWS_PER_PAIR
        return with_trigger(self.parts[i], self.attack, self.seed, pair, rng)

    def target(self, i: int, position: int) -> Target:
        """The target of row i, poisoned at this position in the order; `clean_label` has none."""
        if self.attack.name == "adaptive":
            pair, place = divmod(position, ROWS_PER_PAIR)
            rows = self.order[pair * ROWS_PER_PAIR : (pair + 1) * ROWS_PER_PAIR]
            replaced = [self.parts[row].completion for row in rows]
            return Target(self.corpus.targets(self.seed, pair, replaced)[place], replaces=True)
        text = drawn_for(self.seed, self.attack, i, "target").choice(self.attack.targets)
        return Target(text, replaces=self.attack.name in ("replaced", "refusal"))


def drawn_for(seed: int, attack: Attack, row: int, purpose: str) -> Random:
    """The source of everything that is drawn for one purpose in one row."""
    return Random(f"{seed}:{attack.name}:{row}:{purpose}")
