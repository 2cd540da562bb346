"""What the people who count say of a row, by all that the log has of them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from gradgate.approvals.log import Log
from gradgate.approvals.record import Entry, GroupEvidence
from gradgate.methods.evidence import Question


@dataclass(frozen=True)
class Standing:
    """What one person has said and not taken back.

    Attributes:
        of_sample: By the id of a sample, the entries on it that stand, in order.
        on_rows: Ids of samples that the person has spoken of one by one, if only to withdraw.
        patterns: Entries that speak for new rows of a group as well.
        drops: Entries that drop a group.
    """

    of_sample: Mapping[str, Sequence[Entry]]
    on_rows: Collection[str]
    patterns: Sequence[Entry]
    drops: Sequence[Entry]


def standing_of(log: Log, names: Collection[str]) -> dict[str, Standing]:
    """What stands of each of these people.

    A decision on rows by their numbers replaces all that the same person has said of these rows.
    One on a group replaces what the same person has said of this group: to drop or to withdraw it
    takes back all earlier keeping, to keep or to withdraw it takes back the dropping of the rows
    that it covers, and of no other: groups of other data may look like it. Between different
    groups nothing is replaced, so that a row that is dropped with one stays dropped.

    Raises:
        BrokenLogError: A list of rows is missing, or another one.
    """
    said: dict[str, list[Entry]] = defaultdict(list)
    for entry in log.entries:
        if entry.by in names:
            said[entry.by].append(entry)
    return {name: _standing(log, entries) for name, entries in said.items()}


def _standing(log: Log, said: Sequence[Entry]) -> Standing:
    of_sample: dict[str, list[Entry]] = defaultdict(list)
    on_rows = set[str]()
    patterns, drops = list[Entry](), list[Entry]()
    for entry in said:
        samples = log.samples(entry)
        if entry.group is None:
            on_rows |= samples
            of_sample |= {sample: [] for sample in samples}
        else:
            for sample in samples if entry.action == "keep" else list(of_sample):
                is_covered = sample in samples
                of_sample[sample] = [
                    e for e in of_sample[sample] if not _is_replaced(e, entry, is_covered)
                ]
            patterns = [e for e in patterns if not _is_on_same_group(e, entry)]
            drops = [e for e in drops if not _is_taken_back(e, entry, log)]
            patterns += [entry] if entry.pattern else []
            drops += [entry] if entry.action == "drop" else []
        if entry.action != "withdraw":
            for sample in samples:
                of_sample[sample].append(entry)
    return Standing({k: v for k, v in of_sample.items() if v}, on_rows, patterns, drops)


def _is_on_same_group(earlier: Entry, later: Entry) -> bool:
    if earlier.group is None or later.group is None:
        return False
    return later.group.is_like(earlier.group)


def _is_replaced(earlier: Entry, later: Entry, is_covered: bool) -> bool:
    """Whether a decision on a group takes the place of an earlier one on a row.

    Args:
        earlier: On the row.
        later: On a group.
        is_covered: Whether the row is one of the later decision's.
    """
    if not _is_on_same_group(earlier, later) or (earlier.action == "drop" and not is_covered):
        return False
    return later.action == "withdraw" or earlier.action != later.action


def _is_taken_back(drop: Entry, later: Entry, log: Log) -> bool:
    """Whether a later decision on the same group ends that a drop speaks against new rows."""
    if later.action == "drop" or not _is_on_same_group(drop, later):
        return False
    return later.action == "keep" or not log.samples(drop).isdisjoint(log.samples(later))


@dataclass(frozen=True)
class Row:
    """A row, as a run has judged it.

    Attributes:
        sample_id: Of its content.
        groups: Of each question to which it is flagged, in doubt or left open, the groups that
            hold it and are not honest.
    """

    sample_id: str
    groups: Mapping[Question, Sequence[GroupEvidence]]


@dataclass(frozen=True)
class Ruling:
    """What people make of a row.

    Attributes:
        action: `keep` or `drop`; None: it stays open.
        entries: That it rests on.
    """

    action: Literal["keep", "drop"] | None
    entries: Sequence[Entry] = ()


OPEN = Ruling(None)


def rule(row: Row, people: Mapping[str, Standing], needed: int) -> Ruling:
    """Put together what people say of a row.

    It is dropped where enough of them drop it. It is kept where enough keep the row itself or every
    group that holds it, with regard to every question to which it is open. Where one keeps and
    another drops it, nothing is decided.

    Args:
        row: The row.
        people: Those who count.
        needed: How many different people have to say the same.
    """
    said = [s for one in people.values() if (s := one.of_sample.get(row.sample_id))]
    dropped = [[e for e in entries if e.action == "drop"] for entries in said]
    if any(dropped):
        is_decided = all(dropped) and len(dropped) >= needed
        return Ruling("drop", list(chain(*dropped))) if is_decided else OPEN
    kept = [one for question in row.groups for one in _keeping(row, question, people)]
    if not row.groups:
        kept = [[entries[-1] for entries in said]]
    if any(len(entries) < needed for entries in kept):
        return OPEN
    rests_on = {entry.number: entry for entries in kept for entry in entries}
    return Ruling("keep", [rests_on[number] for number in sorted(rests_on)])


def _keeping(row: Row, question: Question, people: Mapping[str, Standing]) -> list[list[Entry]]:
    """Of each group that holds a row, the entries that keep the row, one of each person.

    Where no group holds it, only decisions on the row itself keep it: a single list.
    """
    groups = row.groups[question]
    if not groups:
        found = [_on_row(row, question, one) for one in people.values()]
        return [[e for e in found if e is not None]]
    return [
        [e for one in people.values() if (e := _of_group(row, group, one, people)) is not None]
        for group in groups
    ]


def _on_row(row: Row, question: Question, standing: Standing) -> Entry | None:
    """The decision of a person to keep a row itself."""
    for entry in standing.of_sample.get(row.sample_id, ()):
        if entry.group is None and question in entry.questions:
            return entry
    return None


def _of_group(
    row: Row, group: GroupEvidence, standing: Standing, people: Mapping[str, Standing]
) -> Entry | None:
    """The decision of a person by which a row may stay although a group holds it.

    Of rows that the person has seen, the group may have other strings besides by now. Of a new row
    the evidence has to be what it was, and nobody may have dropped such a group. In neither case
    may the gate rule on it more severely than then.
    """
    on_row = _on_row(row, group.question, standing)
    if on_row is not None:
        return on_row
    seen = reversed(standing.of_sample.get(row.sample_id, ()))
    if (found := _last(seen, lambda then: then.is_like(group), group)) is not None:
        return found
    if row.sample_id in standing.on_rows or _is_dropped(group, people):
        return None
    return _last(reversed(standing.patterns), lambda then: then.covers(group), group)


def _last(
    newest_first: Iterable[Entry], fits: Callable[[GroupEvidence], bool], group: GroupEvidence
) -> Entry | None:
    """The newest decision on a group that fits, if the gate was as severe with it then."""
    for entry in newest_first:
        if entry.group is not None and fits(entry.group) and entry.group.was_as_bad_as(group):
            return entry
    return None


def _is_dropped(group: GroupEvidence, people: Mapping[str, Standing]) -> bool:
    drops = [entry for one in people.values() for entry in one.drops]
    return any(entry.group is not None and entry.group.is_like(group) for entry in drops)
