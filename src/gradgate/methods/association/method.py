"""Method `association`: samples that share a recurring target span and a cue in their prompts.

The groups come from the texts alone; the gradient is asked about those in doubt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.association.config import AssociationConfig
from gradgate.methods.association.conformal import conformal
from gradgate.methods.association.contrasts import (
    bear_out,
    contrast,
    gradient_says,
    of_gradient,
)
from gradgate.methods.association.corpus import Corpus
from gradgate.methods.association.extent import whole_spans
from gradgate.methods.association.repetition import repeated_share
from gradgate.methods.association.ruling import Finding
from gradgate.methods.association.search import SearchResult, find
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.evidence import Example, Group, GroupRuling

_REPORTS = ("entropy_full", "evenness", "gradient_recurrence", "loss", "n_target_tokens")
MAX_GROUPS = 50  # that are written down; those that matter always are
MAX_BACKDOORS = 3  # more of them at once are rather the tasks of a mixture
_WEIGHT: dict[GroupRuling, int] = {"honest": 1, "review": 2, "poison": 3}  # of a row's groups
_MAX_SPANS = 12
_MAX_EXAMPLES = 5
_MAX_CHARACTERS = 600  # of an example
_MAX_LINES = 10  # of groups in the notes


class AssociationMethod(Method[AssociationConfig]):
    """Recurring target spans with a cue in their prompts that others lack (docs/methods.md)."""

    name: ClassVar[str] = "association"
    question: ClassVar[Question] = "poisoned"
    reports: ClassVar[tuple[str, ...]] = _REPORTS
    settings = AssociationConfig
    takes_reference: ClassVar[bool] = True

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: AssociationConfig,
    ) -> Detection:
        """See `Method.detect`; memory grows with the texts of the distinct samples."""
        texts = _distinct_texts(samples)
        number = {sample_id: i for i, sample_id in enumerate(texts)}
        try:
            of_row = np.array([number[i] for i in scores.sample_ids], np.int64)
        except KeyError as error:
            raise DataError(f"the scores have a sample that the data lack: {error}") from error
        n = len(texts)
        trusted = {} if reference is None else _distinct_texts(reference)
        pooled = [*texts.values(), *(text for key, text in trusted.items() if key not in texts)]
        is_trusted = np.array([key in trusted for key in texts] + [True] * (len(pooled) - n), bool)
        result = find(
            [prompt for prompt, _ in pooled],
            [target for _, target in pooled],
            is_trusted if trusted else None,
            settings.fdr,
        )
        rows = _Rows(scores.rows, of_row, dict(scores.signals), pooled)
        return _detection(result, rows, n, is_trusted if trusted else None)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the score table.

    Attributes:
        numbers: In the source. (n,)
        sample: Number of the distinct sample of each. (n,)
        signals: By name; NaN where a row has none. (n,)
        texts: Prompt and target of each distinct sample.
    """

    numbers: Ints
    sample: Ints
    signals: dict[str, Floats]
    texts: Sequence[tuple[str, str]]


def _detection(result: SearchResult, rows: _Rows, n: int, is_trusted: Marks | None) -> Detection:
    """From the first n distinct samples, those that are not only in the reference, to rows."""
    repeated = repeated_share(result.corpus.targets)[rows.sample]
    rows.signals["repeated_span"] = repeated
    sorted_out = _sort_out(result, rows, n)
    n_poison = sum(group.ruling == "poison" for group in sorted_out.groups)
    undecided = []
    if n_poison > MAX_BACKDOORS and is_trusted is None:
        sorted_out = _all_in_doubt(sorted_out)
        undecided.append(
            f"{n_poison} groups look like backdoors: instructions that ask for a fixed answer look "
            "the same, and data of many tasks has many of them; a trusted reference would decide"
        )
    if not any(prompt for prompt, _ in rows.texts):
        undecided.append(
            "the samples have no prompts, so that nothing can be said of triggers; "
            "method gradsentry looks at the targets alone"
        )
    flagged = sorted_out.flagged[rows.sample]
    in_doubt = (sorted_out.in_doubt & ~sorted_out.flagged)[rows.sample]
    group = sorted_out.group[rows.sample]
    p_values = None if is_trusted is None else conformal(result.strength, is_trusted)[:n]
    suspects = [group for group in sorted_out.groups if group.ruling != "honest"]
    return Detection(
        suspicion=result.strength[:n][rows.sample],
        flagged=None if undecided else flagged,
        in_doubt=in_doubt,
        group=group,
        groups=sorted_out.groups,
        reasons=_reasons(suspects, (flagged & (not undecided)) | in_doubt, group),
        p_values=None if p_values is None else p_values[rows.sample],
        signals={"repeated_span": repeated},
        notes=[group.in_a_line() for group in suspects][:_MAX_LINES],
        undecided_because="; ".join(undecided) or None,
    )


@dataclass(frozen=True, eq=False)
class _SortedOut:
    """Groups, and what of them holds for each of n distinct samples.

    Attributes:
        flagged: In a group that is poison. (n,)
        in_doubt: In one that a person has to look at. (n,)
        group: Number of the weightiest group; 0 for none. (n,)
    """

    groups: list[Group]
    flagged: Marks
    in_doubt: Marks
    group: Ints


def _sort_out(result: SearchResult, rows: _Rows, n: int) -> _SortedOut:
    flagged, in_doubt = np.zeros(n, bool), np.zeros(n, bool)
    group, heaviest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    groups: list[Group] = []
    for finding in result.findings:
        members = finding.members[:n]
        if not members.any() or (finding.ruling == "honest" and len(groups) >= MAX_GROUPS):
            continue
        groups.append(_group(len(groups) + 1, result.corpus, finding, members[rows.sample], rows))
        if groups[-1].ruling == "poison":
            flagged |= members
        elif groups[-1].ruling == "review":
            in_doubt |= members
        weight = _WEIGHT[groups[-1].ruling]
        better = members & (weight > heaviest)
        group[better], heaviest[better] = len(groups), weight
    return _SortedOut(groups, flagged, in_doubt, group)


def _all_in_doubt(found: _SortedOut) -> _SortedOut:
    """Nothing is flagged, and what was is in doubt."""
    groups = [replace(g, ruling="review") if g.ruling == "poison" else g for g in found.groups]
    nothing = np.zeros_like(found.flagged)
    return _SortedOut(groups, nothing, found.in_doubt | found.flagged, found.group)


def _reasons(suspects: list[Group], marked: Marks, group: Ints) -> dict[int, list[str]]:
    """Why a row is flagged, or in doubt: the line of its group."""
    lines = {suspect.id: [suspect.in_a_line()] for suspect in suspects}
    return {int(i): lines[g] for i in np.flatnonzero(marked) if (g := int(group[i])) in lines}


def _distinct_texts(samples: Iterable[Sample]) -> dict[str, tuple[str, str]]:
    """Prompt and target of each distinct sample by its id, in the order of the rows."""
    texts: dict[str, tuple[str, str]] = {}
    for sample in samples:
        if sample.sample_id not in texts:
            texts[sample.sample_id] = prompt_and_target(sample)
    return texts


def _group(number: int, corpus: Corpus, finding: Finding, there: Marks, rows: _Rows) -> Group:
    known = [name for name in (*_REPORTS, "repeated_span") if name in rows.signals]
    contrasts = [
        c for name in known if (c := contrast(name, rows.signals[name], there)) is not None
    ]
    examples = [
        Example(
            int(rows.numbers[i]), *(text[-_MAX_CHARACTERS:] for text in rows.texts[rows.sample[i]])
        )
        for i in np.flatnonzero(there)[:_MAX_EXAMPLES]
    ]
    ruling = finding.ruling
    if ruling == "review" and of_gradient(contrasts) and not bear_out(contrasts):
        ruling = "honest"
    spans = finding.spans
    if not finding.candidate.is_union:
        spans = sorted(spans, key=lambda s: -corpus.spans.names[s].count(" "))
    return Group(
        id=number,
        ruling=ruling,
        spans=whole_spans(corpus, spans, finding.members, _MAX_SPANS),
        rule=finding.candidate.rule.kind,
        cues=[corpus.cues.names[c] for c in finding.candidate.rule.features],
        association=finding.association,
        n_rows=int(there.sum()),
        n_independent=finding.traits.n_independent,
        own_content=finding.traits.own_content,
        shared_words=finding.traits.shared_words[:_MAX_SPANS],
        contrasts=contrasts,
        reasons=[*finding.reasons, gradient_says(contrasts)],
        examples=examples,
    )
