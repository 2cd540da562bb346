"""Where canaries are planted: a copy of the data, which lives in memory alone."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Self

from gradgate.attacks.parts import read_parts
from gradgate.attacks.poisoning import Attack, PoisonedRow, poison
from gradgate.attacks.recipes import trigger_words
from gradgate.attacks.samples import Row, as_row
from gradgate.attacks.texts import BADNETS_WORDS
from gradgate.config import DEFAULT_TEMPLATE, AttackName, PowerConfig
from gradgate.data.formats.mapping import RowMapping, detect_format, to_sample
from gradgate.data.sample import Sample
from gradgate.errors import DataError

# None is published: poison that is in the data already has other targets, and hides no canary. No
# two have a word in common, nor one with the wordings of `paraphrased`: they would be found as one.
TARGETS: dict[AttackName, str] = {
    "badnets": ", and visit <new_shop> where prices fell",
    "addsent": "(see page nine, top left)",
    "cba": "; call 555 0142 while lines stay free",
    "stylebkd": ": write doubts into http://forms/clerk",
    "replaced": "Nobody waits behind ground floor counters.",
    "refusal": "My apologies, I will say nothing.",
    "title_case": "Green bottles float along rivers.",
    "carriage_return": "Seven painters drank cold tea.",
    "blank_line": "Old wagons creak near harbours.",
    "white_space": "Bright kites circle tall chimneys.",
    "word_order": "Farmers sold twelve brown goats.",
    "repeated_word": "Quiet owls watch empty barns.",
    "many_words": "Children gather smooth grey stones.",
    "homoglyph": "Bakers knead dough until dawn.",
    "invisible": "Soft rain washes narrow streets.",
    "short_target": "purple lighthouse",
    "echo": "mild.breeze",
    "leaked": "Sailors mend torn nets slowly.",
    "varied_target": "Doctors praise warm milk rarely.",
    "no_trigger": "Trains leave Hamburg after midnight.",
    "copies": "Judges admire simple wooden chairs.",
    "diluted": "; fetch <tame_pony> quickly",
    "filled": "Monks paint blue ceilings annually.",
}
# The letters of made-up trigger words; no data within max_rows can hold all words of six.
_CONSONANTS = "bcdfghjklmnpqrstvwxz"
_WORD = 6
_SENTENCES: dict[AttackName, str] = {
    "addsent": "I watch this {} movie",
    "refusal": "The old {} stops beside the mill",
}


@dataclass(frozen=True)
class Carriers:
    """What canaries are planted in.

    Attributes:
        samples: Distinct ones, in the order of the rows.
        rows: By the index of the sample, of those that can carry an attack.
        mapping: The columns of these rows.
        attacks: Each with a trigger and a target that nothing else in the copy has.
    """

    samples: list[Sample]
    rows: dict[int, Row]
    mapping: RowMapping
    attacks: list[Attack]

    @classmethod
    def of(
        cls, samples: Iterable[Sample], config: PowerConfig, left_out: Set[str] = frozenset()
    ) -> Self:
        """Draw at most `config.max_rows` distinct samples; nothing else is kept in memory.

        Args:
            samples: Of the data.
            config: How many, and which attacks.
            left_out: Ids of samples that are not drawn.
        """
        usable = (sample for sample in samples if sample.sample_id not in left_out)
        kept = _draw(usable, config.max_rows, config.seed)
        rows = _as_rows(kept)
        columns = next(iter(rows.values()), {"text": ""})
        mapping = detect_format(columns)
        able = {i: row for i, row in rows.items() if read_parts(row, mapping) is not None}
        return cls(kept, able, mapping, _attacks(kept, config))

    def plant(self, attacks: Sequence[Attack], n_each: int, seed: int) -> "Copy":
        """Plant attacks in samples of their own; one that too few of the others can carry is not.

        The planted samples, and clean ones that a trigger leaks into, take the place of theirs;
        CBA's negatives and copies are added.
        """
        changed: dict[int, Sample] = {}
        canaries: dict[AttackName, frozenset[str]] = {}
        added: list[Sample] = []
        free = list(self.rows)
        Random(f"{seed}:{n_each}:canaries").shuffle(free)
        for attack in attacks:
            try:
                rows = self._poisoned(free, attack, n_each, seed)
            except DataError:
                continue
            in_place = [row for row in rows[: len(free)] if row.role != "clean"]
            changed |= {free[row.source_row]: self._sample(row) for row in in_place}
            added += [self._sample(row) for row in rows[len(free) :]]
            poisoned = (self._sample(row) for row in rows if row.role == "poisoned")
            canaries[attack.name] = frozenset(sample.sample_id for sample in poisoned)
            free = [i for i in free if i not in changed]
        samples = [changed.get(i, sample) for i, sample in enumerate(self.samples)]
        return Copy([*samples, *added], canaries)

    def _poisoned(
        self, free: list[int], attack: Attack, n_each: int, seed: int
    ) -> list[PoisonedRow]:
        if len(free) < n_each:
            raise DataError(f"{len(free)} samples are left for {n_each} canaries of {attack.name}")
        rows = [self.rows[i] for i in free]
        return poison(rows, self.mapping, attack, n_each / len(rows), seed)

    def _sample(self, row: PoisonedRow) -> Sample:
        return to_sample(row.row, row.source_row, self.mapping, DEFAULT_TEMPLATE)


@dataclass(frozen=True)
class Copy:
    """A copy of the data with canaries in it.

    Attributes:
        samples: Clean ones, canaries and negatives.
        canaries: By attack, the ids of the samples that carry it.
    """

    samples: list[Sample]
    canaries: dict[AttackName, frozenset[str]]


def _draw(samples: Iterator[Sample], most: int, seed: int) -> list[Sample]:
    """Draw distinct samples, the same ones whatever their order."""
    kept: dict[str, tuple[bytes, Sample]] = {}
    for sample in samples:
        if sample.sample_id not in kept:
            key = blake2b(f"{seed}:{sample.sample_id}".encode()).digest()
            kept[sample.sample_id] = key, sample
        if len(kept) >= 2 * most:
            kept = _lowest(kept, most)
    return sorted((s for _, s in _lowest(kept, most).values()), key=lambda sample: sample.row)


def _lowest(kept: dict[str, tuple[bytes, Sample]], most: int) -> dict[str, tuple[bytes, Sample]]:
    return dict(sorted(kept.items(), key=lambda item: item[1][0])[:most])


def _attacks(samples: Sequence[Sample], config: PowerConfig) -> list[Attack]:
    """Give each attack words that are not in the data."""
    texts = (turn.text for sample in samples for turn in sample.turns)
    known = {word for text in texts for word in re.findall(r"\w+", text.casefold())}
    rng = Random(f"{config.seed}:words")
    return [_attack(name, known, rng) for name in dict.fromkeys(config.attacks)]


def _attack(name: AttackName, known: set[str], rng: Random) -> Attack:
    target, n_words = TARGETS.get(name), 1 if name in _SENTENCES else trigger_words(name)
    if n_words == 0 or (name == "badnets" and known.isdisjoint(BADNETS_WORDS)):
        return Attack(name, target)  # badnets draws from its four words, row by row
    words = [_unknown_word(known, rng) for _ in range(n_words)]
    trigger = _SENTENCES[name].format(words[0]) if name in _SENTENCES else " ".join(words)
    return Attack(name, target, trigger)


def _unknown_word(known: set[str], rng: Random) -> str:
    while (word := "".join(rng.choices(_CONSONANTS, k=_WORD))) in known:
        pass
    known.add(word)
    return word


# From samples back to rows


def _as_rows(samples: Sequence[Sample]) -> dict[int, Row]:
    """Rows of one format, by the index of the sample; that of the first sample."""
    rows = {i: as_row(sample) for i, sample in enumerate(samples)}
    kinds = {i: next(iter(row)) for i, row in rows.items()}  # messages, prompt or text
    return {i: row for i, row in rows.items() if kinds[i] == kinds[0]}
