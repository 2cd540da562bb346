"""From scores to flags: the methods, and the table of what each row is.

`gradsentry` flags what lies above tau, as published (arXiv 2605.26574). `gradgate` flags samples
that share a recurring target span and a cue in their prompts, and asks the gradient about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import mannwhitneyu

from gradgate.accepted import SCORES
from gradgate.errors import DataError
from gradgate.evidence.extent import whole_spans
from gradgate.evidence.finding import SURE, Findings, Found, find
from gradgate.evidence.group import Contrast, Example, Group, Ruling
from gradgate.evidence.repetition import repeated_share
from gradgate.prepare import iter_samples
from gradgate.samples import Sample

Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_SCORED = ("entropy_full", "evenness", "gradient_recurrence", "loss", "n_target_tokens")
SIGNALS = (*_SCORED, "repeated_span")
MOST_GROUPS = 50  # that are written down; those that matter always are
MOST_BACKDOORS = 3  # more of them at once are rather the tasks of a mixture
_WEIGHT: dict[Ruling, int] = {"honest": 1, "review": 2, "poison": 3}  # of a row's groups
_SPANS = 12
_EXAMPLES = 5
_SHOWN = 600  # characters of an example


@dataclass(frozen=True, eq=False)
class Detection:
    """What a method makes of a scored data set, row by row in the order of the score table.

    Attributes:
        method: Its name.
        flagged: None when the method could not decide. (n,)
        repeated_span: Part of the words of each target that recur in other samples' targets
            (`gradgate.evidence.repetition`); NaN where the method does not read texts. (n,)
        p_values: NaN without a trusted reference. (n,)
        group: `Group.id` of each row; 0 for none. (n,)
        in_doubt: Rows of groups that a person has to look at, and that are not flagged. (n,)
        groups: The evidence, the most important first.
        notes: What the method cannot say about this data, in words.
    """

    method: str
    flagged: Marks | None
    repeated_span: Floats
    p_values: Floats
    group: Ints
    in_doubt: Marks
    groups: list[Group]
    notes: list[str]


def by_entropy(folder: Path, tau: float | None, is_decided: bool) -> Detection:
    """The published method: a row is flagged when its spectral entropy is above tau.

    Args:
        folder: Holds scores.parquet.
        tau: None flags nothing.
        is_decided: Whether anything may be said of the rows at all.
    """
    entropy = pq.read_table(folder / SCORES, columns=["spectral_entropy"])["spectral_entropy"]
    values = np.asarray(entropy.to_numpy(), np.float64)
    n = len(values)
    above = np.zeros(n, bool) if tau is None else values > tau
    nothing = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int64), np.zeros(n, bool)
    return Detection("gradsentry", above if is_decided else None, *nothing, [], [])


def by_evidence(
    folder: Path, samples: Path, reference: Path | None = None, fdr: float = 0.05
) -> Detection:
    """Gradgate's method: groups of samples with a common target span and a common cue.

    Memory grows with the texts of the distinct samples.

    Args:
        folder: Holds scores.parquet.
        samples: The samples of the same rows.
        reference: Samples of a trusted data set of the same kind.
        fdr: False-discovery rate among the groups that are held against it.
    """
    table = pq.read_table(folder / SCORES, columns=["row", "sample_id", *_SCORED])
    ids = np.asarray(table["sample_id"].to_pylist(), dtype=object)
    texts = _distinct_texts(samples)
    number = {sample_id: i for i, sample_id in enumerate(texts)}
    try:
        of_row = np.array([number[i] for i in ids], np.int64)
    except KeyError as error:
        raise DataError(f"{folder / SCORES} has a sample that {samples} lacks: {error}") from error
    n = len(texts)
    trusted = {} if reference is None else _distinct_texts(reference)
    pooled = [*texts.values(), *(text for key, text in trusted.items() if key not in texts)]
    is_trusted = np.array([key in trusted for key in texts] + [True] * (len(pooled) - n), bool)
    findings = find(
        [prompt for prompt, _ in pooled],
        [target for _, target in pooled],
        is_trusted if trusted else None,
        fdr,
    )
    signals = {name: np.asarray(table[name].to_numpy(), np.float64) for name in _SCORED}
    rows = _Rows(np.asarray(table["row"].to_numpy(), np.int64), of_row, signals, pooled)
    return _detection(findings, rows, n, is_trusted if trusted else None)


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


def _detection(findings: Findings, rows: _Rows, n: int, is_trusted: Marks | None) -> Detection:
    """From the first n distinct samples, those that are not only in the reference, to rows."""
    flagged, in_doubt = np.zeros(n, bool), np.zeros(n, bool)
    repeated = repeated_share(findings.corpus.targets)
    rows.signals["repeated_span"] = repeated[rows.sample]
    group, heaviest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    groups: list[Group] = []
    for found in findings.groups:
        members = found.members[:n]
        if not members.any() or (found.ruling == "honest" and len(groups) >= MOST_GROUPS):
            continue
        groups.append(_group(len(groups) + 1, findings, found, members[rows.sample], rows))
        if groups[-1].ruling == "poison":
            flagged |= members
        elif groups[-1].ruling == "review":
            in_doubt |= members
        weight = _WEIGHT[groups[-1].ruling]
        better = members & (weight > heaviest)
        group[better], heaviest[better] = len(groups), weight
    p_values = np.full(n, np.nan)
    if is_trusted is not None:
        p_values = conformal(findings.strength, is_trusted)[:n]
    notes = []
    n_poison = sum(group.ruling == "poison" for group in groups)
    if n_poison > MOST_BACKDOORS and is_trusted is None:
        flagged, in_doubt, groups = _all_in_doubt(flagged, in_doubt, groups)
        notes.append(
            f"{n_poison} groups look like backdoors: instructions that ask for a fixed answer look "
            "the same, and data of many tasks has many of them; a trusted reference would decide"
        )
    if not any(prompt for prompt, _ in rows.texts):
        notes.append(
            "the samples have no prompts, so that nothing can be said of triggers; "
            "method gradsentry looks at the targets alone"
        )
    return Detection(
        "gradgate",
        flagged[rows.sample],
        repeated[rows.sample],
        p_values[rows.sample],
        group[rows.sample],
        (in_doubt & ~flagged)[rows.sample],
        groups,
        notes,
    )


def _all_in_doubt(
    flagged: Marks, in_doubt: Marks, groups: list[Group]
) -> tuple[Marks, Marks, list[Group]]:
    """Nothing is flagged, and what was is in doubt."""
    doubtful = [replace(g, ruling="review") if g.ruling == "poison" else g for g in groups]
    return np.zeros_like(flagged), in_doubt | flagged, doubtful


def conformal(strength: Floats, is_trusted: Marks) -> Floats:
    """Conformal p-values: the rank of each sample's strength among those of the reference.

    The strengths come from data and reference together, without regard to which is which, so that
    those of clean samples of the same distribution are exchangeable: a p-value of at most u then
    has a probability of at most u (Vovk et al. 2005; Bates et al. 2023).

    Args:
        strength: High is suspicious. (n,)
        is_trusted: Which samples belong to the reference. (n,)
    """
    known = np.sort(strength[is_trusted])
    at_least = len(known) - np.searchsorted(known, strength, side="left")
    return np.asarray((1.0 + at_least) / (len(known) + 1.0))


def _distinct_texts(samples: Path) -> dict[str, tuple[str, str]]:
    """Prompt and target of each distinct sample by its id, in the order of the rows."""
    texts: dict[str, tuple[str, str]] = {}
    for sample in iter_samples(samples):
        if sample.sample_id not in texts:
            texts[sample.sample_id] = prompt_and_target(sample)
    return texts


def prompt_and_target(sample: Sample) -> tuple[str, str]:
    """All text that is given, and all that is learnt, turn below turn."""
    given = [turn.text for turn in sample.turns if not turn.is_target]
    learnt = [turn.text for turn in sample.turns if turn.is_target]
    return "\n".join(given), "\n".join(learnt)


def _group(number: int, findings: Findings, found: Found, there: Marks, rows: _Rows) -> Group:
    corpus = findings.corpus
    contrasts = [
        c for name in SIGNALS if (c := contrast(name, rows.signals[name], there)) is not None
    ]
    examples = [
        Example(int(rows.numbers[i]), *(text[-_SHOWN:] for text in rows.texts[rows.sample[i]]))
        for i in np.flatnonzero(there)[:_EXAMPLES]
    ]
    ruling = found.ruling
    if ruling == "review" and not bear_out(contrasts):
        ruling = "honest"
    spans = found.spans
    if not found.match.is_union:
        spans = sorted(spans, key=lambda s: -corpus.spans.names[s].count(" "))
    return Group(
        id=number,
        ruling=ruling,
        spans=whole_spans(corpus, spans, found.members, _SPANS),
        rule=found.match.rule.kind,
        cues=[corpus.cues.names[c] for c in found.match.rule.features],
        association=found.association,
        n_rows=int(there.sum()),
        n_independent=found.character.n_independent,
        own_content=found.character.own_content,
        shared_words=found.character.shared_words[:_SPANS],
        contrasts=contrasts,
        reasons=[*found.reasons, gradient_says(contrasts)],
        examples=examples,
    )


def contrast(signal: str, values: Floats, inside: Marks) -> Contrast | None:
    """A signal of the marked rows against that of all others; None where either side has none."""
    known = np.isfinite(values)
    here, there = values[known & inside], values[known & ~inside]
    if not here.size or not there.size:
        return None
    found = mannwhitneyu(here, there, alternative="two-sided", method="asymptotic")
    p_value = float(found.pvalue) if np.isfinite(found.pvalue) else 1.0
    return Contrast(
        signal,
        float(np.median(here)),
        float(np.median(there)),
        float(found.statistic / (here.size * there.size)),
        p_value,
    )


def bear_out(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts of the gradient that are no chance: what bears a group out."""
    return [c for c in contrasts if c.signal in _WORDS and c.p_value < SURE]


def gradient_says(contrasts: Sequence[Contrast]) -> str:
    """In words: how the gradients of a group differ from those of the other samples."""
    telling = bear_out(contrasts)
    if not telling:
        return "the gradient does not bear it out: it is like that of other samples"
    words = [
        f"{_WORDS[c.signal]} {'higher' if c.auroc > 0.5 else 'lower'} "
        f"({c.inside:.2f} against {c.outside:.2f}, AUROC {c.auroc:.2f})"
        for c in telling
    ]
    return "the gradient bears it out: " + ", ".join(words)


_WORDS = {
    "entropy_full": "spectral entropy is",
    "evenness": "evenness is",
    "gradient_recurrence": "gradient recurrence is",
    "loss": "loss is",
}
