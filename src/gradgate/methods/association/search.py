"""The search: candidates become findings, each ruled poison, review or honest.

docs/methods.md justifies the constants; none of them depends on the data set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.association.association import associate
from gradgate.methods.association.candidate import Candidate, is_phrase, is_tight, remainder
from gradgate.methods.association.corpus import Corpus, read_corpus
from gradgate.methods.association.mining import distinct, mine
from gradgate.methods.association.reference import against_reference
from gradgate.methods.association.ruling import ALPHA, MIN_CARRIERS, Finding, ruling_of
from gradgate.methods.association.traits import Traits, describe

_ORDER = {"poison": 0, "review": 1, "honest": 2}


@dataclass(frozen=True)
class SearchResult:
    """The findings in the distinct samples of a data set.

    Attributes:
        corpus: Their texts.
        findings: Poison first, then those in doubt, then honest ones; the largest first.
        strength: How suspicious each sample is, in [0, 1]: by the tightest finding that it belongs
            to, before anything was held against a reference. (n,)
    """

    corpus: Corpus
    findings: list[Finding]
    strength: Floats


def find(
    prompts: Sequence[str],
    targets: Sequence[str],
    is_trusted: Marks | None = None,
    fdr: float = ALPHA,
) -> SearchResult:
    """Search distinct samples for groups with a target span and a cue.

    Args:
        prompts: Of the distinct samples.
        targets: Of the same.
        is_trusted: Which of them belong to a trusted reference: a group that is in the reference
            too is honest, one that should be and is not is poison, and where the reference is too
            small to tell, the ruling stays. (n,)
        fdr: Expected share of false discoveries among the groups that are said to be absent from
            the reference.
    """
    corpus = read_corpus(prompts, targets)
    findings = _findings(corpus)
    strength = _strength(findings, corpus.n)
    if is_trusted is not None:
        findings = against_reference(findings, is_trusted, fdr)
    findings.sort(key=lambda one: (_ORDER[one.ruling], -int(one.members.sum()), one.spans[0]))
    return SearchResult(corpus, findings, strength)


def _findings(corpus: Corpus) -> list[Finding]:
    """Test the candidates, the tightest first; samples that are poison are set aside."""
    findings: list[Finding] = []
    poison = np.zeros(corpus.n, bool)
    candidates, n_tests = mine(corpus, MIN_CARRIERS)
    for whole, spans in list(_strong(corpus, candidates)):
        candidate = remainder(corpus, whole, poison)
        if candidate.both.sum() < MIN_CARRIERS:
            continue  # known poison explains it
        finding = _tested(corpus, candidate, spans, n_tests, poison)
        findings.append(finding)
        if finding.ruling == "poison":
            poison |= finding.members
    return findings


def _strong(corpus: Corpus, candidates: list[Candidate]) -> Iterator[tuple[Candidate, list[int]]]:
    """Candidates of enough carriers that are tight or a phrase, with all spans that mark them."""
    for candidate, spans in distinct(candidates, corpus.n):
        is_strong = is_tight(corpus, candidate, corpus.n) or is_phrase(corpus, candidate)
        if candidate.both.sum() >= MIN_CARRIERS and is_strong:
            yield candidate, spans


def _tested(
    corpus: Corpus, candidate: Candidate, spans: list[int], n_tests: int, set_aside: Marks
) -> Finding:
    left = ~set_aside
    association = associate(candidate.carriers[left], candidate.rule.holds[left], max(1, n_tests))
    traits = describe(corpus, candidate, set_aside)
    ruling, reasons = ruling_of(association, traits)
    return Finding(
        candidate=candidate,
        spans=candidate.spans if candidate.is_union else spans,
        association=association,
        traits=traits,
        ruling=ruling,
        reasons=reasons,
        members=_members(candidate, traits),
    )


def _members(candidate: Candidate, traits: Traits) -> Marks:
    """All with the cue for several wordings, all carriers for a phrase, else those with both."""
    if candidate.is_union:
        return candidate.rule.holds
    return candidate.carriers if traits.is_phrase else candidate.both


def _strength(findings: list[Finding], n: int) -> Floats:
    strength = np.zeros(n)
    for finding in findings:
        if finding.ruling != "honest":
            own = finding.association.phi * min(1.0, finding.traits.own_content)
            strength[finding.members] = np.maximum(strength[finding.members], own)
    return strength
