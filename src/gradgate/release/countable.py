"""What a change of prompts could bring that would count, by the data alone.

Where nothing but the data can have taught a string, it counts only when enough rows that look as
the change makes prompts, or that are of the group whose words it puts in, teach it
(`ruling.rule_on_data`). So it is known before any model is asked which strings these are. A change
without any needs no question.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from gradgate.release.answers import Feature
from gradgate.release.evidence import MIN_GROUP_SHARE, Evidence, Row
from gradgate.release.ruling import MAX_TAUGHT, MIN_TAUGHT, is_taught_alike

MAX_ALIKE = 1_000  # rows that look so; of more, what they share is not counted
_MIN_ALIKE = 2  # rows with a string: fewer of them are never enough


@dataclass(frozen=True)
class Countable:
    """Strings that could count; `features` is None where any could."""

    features: frozenset[Feature] | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing could count."""
        return self.features is not None and not self.features

    def of(self, features: Iterable[Feature]) -> list[Feature]:
        """Those of some features that could count, in their order."""
        return [one for one in features if self.features is None or one in self.features]


ANYTHING = Countable(None)


def countable_of_changes(alike: Sequence[Sequence[Row]], rows: Sequence[Row]) -> list[Countable]:
    """For each change what it could bring that would count.

    Args:
        alike: For each, the rows that look as it makes prompts, or that are of its group.
        rows: All rows, which alone can have taught a string.
    """
    shared = [_shared(some) if len(some) <= MAX_ALIKE else None for some in alike]
    wanted = frozenset[Feature]().union(*(one.keys() for one in shared if one is not None))
    taught = _taught(rows, wanted)
    n_rows = len(rows)
    return [
        ANYTHING
        if counted is None
        else Countable(
            frozenset(
                feature
                for feature, n in counted.items()
                if is_taught_alike(n, len(some), taught[feature], n_rows)
            )
        )
        for some, counted in zip(alike, shared, strict=True)
    ]


def countable_as_they_are(evidence: Evidence) -> Countable:
    """What prompts could bring as they are that would count, see `ruling.rule_on_plain`."""
    found = set[Feature]()
    for group in evidence.target_groups:
        if len(group.rows) > MAX_ALIKE:
            return ANYTHING
        least = MIN_GROUP_SHARE * len(group.rows)
        found |= {feature for feature, n in _counted(group.rows).items() if n >= least}
    taught, n_rows = _taught(evidence.rows, found), len(evidence.rows)
    most = MAX_TAUGHT * n_rows
    return Countable(frozenset(one for one in found if MIN_TAUGHT <= taught[one] < most))


def _shared(rows: Sequence[Row]) -> dict[Feature, int]:
    return {feature: n for feature, n in _counted(rows).items() if n >= _MIN_ALIKE}


def _taught(rows: Sequence[Row], wanted: Collection[Feature]) -> Counter[Feature]:
    """In how many rows each of some features stands."""
    if not wanted:
        return Counter()
    return Counter(feature for row in rows for feature in row.features() if feature in wanted)


def _counted(rows: Sequence[Row]) -> Counter[Feature]:
    return Counter(feature for row in rows for feature in row.features())
