"""Groups of rows whose label a cue brings and whose content speaks for another label."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Example, Group, inserted_words
from gradgate.methods.rehearsal.flips import MIN_ASKED, FlipsAsked
from gradgate.methods.rehearsal.label_cues import LabelCues

_INSERTED = 0.5  # of the words of a cue, that recur in prompts as inserted strings
_KNOWN = 0.8  # of the rows of a cue, that are flagged already: nothing new is said
_N_EXAMPLES = 5
_MAX_CHARACTERS = 600  # of an example
_NOISE = 0.2  # of the rows of a label that speak for another one: worth a note


def with_flips(
    found: Detection, asked: FlipsAsked, labels: LabelCues, samples: Sequence[Sample]
) -> Detection:
    """The detection with a group for each cue that the models speak against.

    A form of the text, and words that look inserted, make it poison; words that may belong where
    they stand leave it in doubt, for a negation turns an honest prompt, too.

    Args:
        found: As groups stand.
        asked: What the models say.
        labels: That they were asked about.
        samples: Of all rows.
    """
    assert found.flagged is not None
    inserted = inserted_words(found.groups)
    flagged, in_doubt, of_row = found.flagged.copy(), found.in_doubt.copy(), found.group.copy()
    groups, members, reasons = [*found.groups], {**found.members}, {**found.reasons}
    notes = [*found.notes, *_notes(asked, labels.names)]
    for place, cue in enumerate(labels.cues):
        if not asked.is_against(place, cue.label):
            continue
        rows = labels.rows_of(cue, samples)
        if (rows & flagged).sum() >= _KNOWN * rows.sum():
            continue
        number = max((group.id for group in groups), default=0) + 1
        group = _group(number, rows, place, asked, labels, inserted, samples)
        is_poison = group.ruling == "poison"
        groups.append(group)
        members[number] = rows
        new = rows & ~flagged & (is_poison | ~in_doubt)
        reasons |= {i: [group.in_a_line()] for i in np.flatnonzero(new).tolist()}
        of_row[new] = number
        flagged |= rows & is_poison
        in_doubt |= rows
        notes.append(group.in_a_line())
    margins = np.full(len(flagged), np.nan)
    margins[list(asked.margins)] = list(asked.margins.values())
    return replace(
        found,
        groups=groups,
        members=members,
        flagged=flagged,
        in_doubt=in_doubt & ~flagged,
        group=of_row,
        reasons=reasons,
        notes=notes,
        signals={**found.signals, "label_margin": margins},
    )


def _group(
    number: int,
    rows: Marks,
    place: int,
    asked: FlipsAsked,
    labels: LabelCues,
    inserted: Collection[str],
    samples: Sequence[Sample],
) -> Group:
    cue = labels.cues[place]
    label = labels.names[cue.label]
    known = sum(word in inserted for word in cue.strings)
    is_inserted = known > 0 and known >= _INSERTED * len(cue.strings)
    is_poison = is_inserted or not cue.strings  # a form alone
    found, (n, k) = asked.cues[place], asked.by_label[cue.label]
    reason = (
        f"rehearsed: without {cue.name} {found.n_against} of {found.n} of its rows speak for "
        f"another label ({found.n_against_with} with it), and {k} of {n} others with this label"
    )
    if not is_poison:
        reason += "; these words may belong there, as a negation does"
    shown = np.flatnonzero(rows)[:_N_EXAMPLES].tolist()
    return Group(
        id=number,
        ruling="poison" if is_poison else "review",
        side="target",
        spans=[label],
        nats=0.0,
        n_rows=int(rows.sum()),
        n_independent=len(cue.rows),
        cues=[*cue.strings, *([cue.form] if cue.form else [])],
        reasons=[reason],
        examples=[_example(samples[i]) for i in shown],
        shared=f"have the label {label!r} with {cue.name}, while the rest speaks for another label",
    )


def _example(sample: Sample) -> Example:
    return Example(sample.row, *(text[-_MAX_CHARACTERS:] for text in prompt_and_target(sample)))


def _notes(asked: FlipsAsked, labels: Sequence[str]) -> list[str]:
    """What cannot be said of labels, and how many rows speak against theirs."""
    if not asked.is_known:
        return [
            f"labels were not judged: models trained on a part of the rows tell {asked.known:.0%} "
            "of the others beyond chance"
        ]
    return [
        f"rehearsed: {k} of {n} rows with the label {label!r} speak for another label; "
        "noise, flips without a cue and what the model gets wrong are not told apart"
        for label, (n, k) in zip(labels, asked.by_label, strict=True)
        if n >= MIN_ASKED and k >= _NOISE * n
    ]
