"""Method `recurrence`: strings that recur and that the untuned model does not expect."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.evidence import Example, Group, GroupRuling
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.contrasts import Ranked
from gradgate.methods.recurrence.cues.triggers import MIN_CLUSTERS
from gradgate.methods.recurrence.everywhere import Everywhere
from gradgate.methods.recurrence.findings import Search
from gradgate.methods.recurrence.reference import Reference
from gradgate.methods.recurrence.ruling import Finding, Found
from gradgate.methods.recurrence.samples.mined import MAX_ROWS, found_from, mined
from gradgate.methods.recurrence.samples.rows import Members, Rows
from gradgate.methods.recurrence.samples.silence import why_silent

_REPORTS = ("entropy_full", "evenness", "gradient_recurrence", "loss", "n_target_tokens")
MAX_GROUPS = 50  # that are written down; those that matter always are
_WEIGHT: dict[GroupRuling, int] = {"honest": 1, "review": 2, "poison": 3}
_MAX_EXAMPLES = 5
_MAX_CHARACTERS = 600  # of an example
_MAX_LINES = 10  # of groups in the notes


class RecurrenceMethod(Method[RecurrenceConfig]):
    """Surprising strings that recur in targets or prompts (docs/methods.md)."""

    name: ClassVar[str] = "recurrence"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    is_rehearsed: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = _REPORTS
    settings = RecurrenceConfig
    takes_reference: ClassVar[bool] = True

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: RecurrenceConfig,
    ) -> Detection:
        """See `Method.detect`; beside the tokens, memory grows with those of the mined samples."""
        rows = Rows.of(scores, samples)
        known, unread = None, list[str]()
        if reference is not None and scores.score is not None:
            known = Reference.of(reference, scores.score)
        elif reference is not None:
            unread.append("the trusted reference was not read: nothing scores it")
        found, silent = _found(rows, known)
        found = replace(found, notes=[*found.notes, *unread])
        findings = sorted(found.findings, key=lambda f: (-_WEIGHT[f.ruling], -len(f.members)))
        return _detection(findings, found, rows, silent)


def _found(rows: Rows, known: Reference | None) -> tuple[Found, str | None]:
    """The groups in all samples, and why nothing can be said of triggers."""
    chosen = mined(rows.sample_ids, rows.lengths)
    texts = rows.texts() if rows.scores.n <= MAX_ROWS else rows.texts_of(chosen)
    search = Search(texts, rows.scores, known)
    found = search.run()
    if len(chosen) == rows.n:
        return _held(found, search), why_silent(texts)
    everywhere = Everywhere(search, found, chosen, rows.n)
    for numbers, others in rows.blocks(left_out=chosen):
        everywhere.add(numbers, others)
    found = everywhere.found()
    certain = found_from(MIN_CLUSTERS, len(chosen), rows.n)
    note = (
        f"strings were mined in {len(chosen):,} of {rows.n:,} distinct samples and counted in all: "
        f"one that fewer than {certain:,} samples share may be missed, "
        "also where canaries show in fewer rows of their copy"
    )
    found = replace(found, notes=[*found.notes, note])
    return _held(found, search), why_silent(texts)


def _held(found: Found, search: Search) -> Found:
    """Held against the reference."""
    return replace(found, findings=[search.trusted.against(one) for one in found.findings])


def _detection(findings: list[Finding], found: Found, rows: Rows, silent: str | None) -> Detection:
    n = rows.scores.n
    flagged, in_doubt, group = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, np.int64)
    kept = _kept(findings)
    for number, finding in enumerate(kept, start=1):
        there = rows.mark(finding.members)
        flagged |= there & (finding.ruling == "poison")
        in_doubt |= there & (finding.ruling == "review")
        group[there & (group == 0)] = number
    in_doubt &= ~flagged
    groups = _groups(kept, rows)
    suspects = [group for group in groups if group.ruling != "honest"]
    reasons = _reasons(suspects, in_doubt if silent else flagged | in_doubt, group)
    if silent:
        in_doubt, flagged = in_doubt | flagged, np.zeros(n, bool)
    return Detection(
        suspicion=rows.spread(np.maximum(found.target_nats, found.prompt_nats)),
        flagged=None if silent else flagged,
        in_doubt=in_doubt,
        group=group,
        groups=groups,
        members=Members(rows, {i: one.members for i, one in enumerate(kept, start=1)}),
        reasons=reasons,
        signals={
            "target_surprise": rows.spread(found.target_nats),
            "prompt_surprise": rows.spread(found.prompt_nats),
        },
        notes=[*(group.in_a_line() for group in suspects[:_MAX_LINES]), *found.notes],
        undecided_because=silent,
    )


def _reasons(suspects: list[Group], marked: Marks, group: Ints) -> dict[int, list[str]]:
    """Why a row is flagged, or in doubt: the line of its group."""
    lines = {suspect.id: [suspect.in_a_line()] for suspect in suspects}
    return {int(i): lines[g] for i in np.flatnonzero(marked) if (g := int(group[i])) in lines}


def _kept(findings: list[Finding]) -> list[Finding]:
    """The findings that are written down: honest ones as long as there are few."""
    n_suspicious = sum(finding.ruling != "honest" for finding in findings)
    return findings[: max(n_suspicious, MAX_GROUPS)]


def _groups(findings: list[Finding], rows: Rows) -> list[Group]:
    signals = rows.scores.signals
    ranked = [Ranked.of(name, signals[name]) for name in _REPORTS if name in signals]
    marks = (rows.mark(finding.members) for finding in findings)
    firsts = [np.flatnonzero(there)[:_MAX_EXAMPLES].tolist() for there in marks]
    texts = rows.shown({i for some in firsts for i in some})
    return [
        _group(number, finding, rows, ranked, {i: texts[i] for i in some})
        for number, (finding, some) in enumerate(zip(findings, firsts, strict=True), start=1)
    ]


def _group(
    number: int,
    finding: Finding,
    rows: Rows,
    ranked: list[Ranked],
    shown: dict[int, tuple[str, str]],
) -> Group:
    there = rows.mark(finding.members)
    contrasts = [c for signal in ranked if (c := signal.contrast(there)) is not None]
    examples = [
        Example(int(rows.scores.rows[i]), *(text[-_MAX_CHARACTERS:] for text in texts))
        for i, texts in shown.items()
    ]
    return Group(
        id=number,
        ruling=finding.ruling,
        side=finding.side,
        spans=finding.spans,
        nats=finding.nats,
        n_rows=int(there.sum()),
        n_independent=finding.n_clusters,
        rule=finding.rule,
        cues=finding.cues,
        cue_nats=finding.cue_nats,
        association=finding.association,
        contrasts=contrasts,
        reasons=finding.reasons,
        examples=examples,
        shared=finding.shared,
        vouchable=finding.vouchable,
    )
