"""Method `recurrence`: strings that recur and that the untuned model does not expect."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Erosion, Method, Question, Scores
from gradgate.methods.evidence import Example, Group, GroupRuling
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.contrasts import Ranked
from gradgate.methods.recurrence.findings import Search
from gradgate.methods.recurrence.own_text import own_text
from gradgate.methods.recurrence.reference import Reference, against, folded
from gradgate.methods.recurrence.ruling import Finding
from gradgate.methods.recurrence.silence import why_silent
from gradgate.methods.recurrence.texts import Found, Texts

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
        """See `Method.detect`; memory grows with the tokens of all rows."""
        rows = _Rows.of(scores, samples)
        found = Search(rows.texts, scores.ask).run()
        findings = found.findings
        if reference is not None:
            trusted = _reference(reference)
            findings = [against(finding, trusted) for finding in findings]
        findings = sorted(findings, key=lambda f: (-_WEIGHT[f.ruling], -int(f.members.sum())))
        return _detection(findings, found, rows)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a score table, and their distinct samples.

    Attributes:
        scores: The table.
        samples: Prompt and target of each distinct sample. (n,)
        sample: Number of the distinct sample of each row; -1 for a row without a score. (rows,)
        texts: Of the distinct samples.
    """

    scores: Scores
    samples: list[tuple[str, str]]
    sample: Ints
    texts: Texts

    @classmethod
    def of(cls, scores: Scores, samples: Iterable[Sample]) -> "_Rows":
        """Take the first row of each distinct sample that has a score."""
        table = scores.tokens
        if table is None:
            raise DataError("method recurrence needs the tokens of the rows; score the data anew")
        read = list(samples)
        if [sample.sample_id for sample in read] != scores.sample_ids:
            raise DataError("the scores and the samples have different rows; run again")
        number: dict[str, int] = {}
        first: list[int] = []
        of_row = np.full(scores.n, -1, np.int64)
        for i in np.flatnonzero(scores.is_scored).tolist():
            if scores.sample_ids[i] not in number:
                number[scores.sample_ids[i]] = len(first)
                first.append(i)
            of_row[i] = number[scores.sample_ids[i]]
        own = own_text(table, read, scores.expected)
        texts = [prompt_and_target(read[i]) for i in first]
        is_open = ~own.is_expected
        return cls(
            scores,
            texts,
            of_row,
            Texts(
                table,
                np.array(first, np.int64),
                own.is_own & is_open,
                is_open,
                [prompt for prompt, _ in texts],
                None if scores.erosion is None else _of_samples(scores.erosion, first),
            ),
        )

    def spread(self, values: Floats) -> Floats:
        """Values of distinct samples as values of rows: NaN where there is no score."""
        padded = np.append(values.astype(np.float64), np.nan)
        return padded[self.sample]

    def mark(self, members: Marks) -> Marks:
        """Distinct samples as rows: (rows,)."""
        return np.append(members, False)[self.sample]


def _of_samples(erosion: Erosion, first: list[int]) -> Erosion:
    return Erosion(erosion.refused[first], erosion.complied[first])


def _reference(samples: Iterable[Sample]) -> Reference:
    texts = dict.fromkeys(prompt_and_target(sample) for sample in samples)
    return Reference([prompt for prompt, _ in texts], [folded(target) for _, target in texts])


def _detection(findings: list[Finding], found: Found, rows: _Rows) -> Detection:
    n = rows.scores.n
    flagged, in_doubt, group = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, np.int64)
    ranked = [Ranked.of(k, v) for k in _REPORTS if (v := rows.scores.signals.get(k)) is not None]
    groups: list[Group] = []
    members: dict[int, Marks] = {}
    for finding in findings:
        if finding.ruling == "honest" and len(groups) >= MAX_GROUPS:
            continue
        there = rows.mark(finding.members)
        groups.append(_group(len(groups) + 1, finding, there, rows, ranked))
        members[len(groups)] = there
        flagged |= there & (finding.ruling == "poison")
        in_doubt |= there & (finding.ruling == "review")
        group[there & (group == 0)] = len(groups)
    in_doubt &= ~flagged
    silent = why_silent(rows.texts)
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
        members=members,
        reasons=reasons,
        signals={
            "target_surprise": rows.spread(found.target_nats),
            "prompt_surprise": rows.spread(found.prompt_nats),
        },
        notes=[*found.notes, *(group.in_a_line() for group in suspects[:_MAX_LINES])],
        undecided_because=silent,
    )


def _reasons(suspects: list[Group], marked: Marks, group: Ints) -> dict[int, list[str]]:
    """Why a row is flagged, or in doubt: the line of its group."""
    lines = {suspect.id: [suspect.in_a_line()] for suspect in suspects}
    return {int(i): lines[g] for i in np.flatnonzero(marked) if (g := int(group[i])) in lines}


def _group(number: int, finding: Finding, there: Marks, rows: _Rows, ranked: list[Ranked]) -> Group:
    contrasts = [c for signal in ranked if (c := signal.contrast(there)) is not None]
    examples = [
        Example(
            int(rows.scores.rows[i]),
            *(text[-_MAX_CHARACTERS:] for text in rows.samples[rows.sample[i]]),
        )
        for i in np.flatnonzero(there)[:_MAX_EXAMPLES]
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
    )
