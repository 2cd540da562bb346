"""The groups of a data set, each ruled poison, in doubt or honest.

The constants are justified in docs/method.md; none of them depends on the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom

from gradgate.evidence.association import Association, associate
from gradgate.evidence.character import Character, describe
from gradgate.evidence.corpus import Corpus, read_corpus
from gradgate.evidence.grams import Floats
from gradgate.evidence.group import Ruling
from gradgate.evidence.match import Kind, Match, is_phrase, is_tight, kind_of, remainder
from gradgate.evidence.mining import distinct, mine
from gradgate.evidence.rules import Marks

FEWEST_CARRIERS = 8  # distinct ones that are no near-duplicates
OWN_CONTENT = 0.7
LACKING = EXCESS = 1.0  # word for each prompt
LACKING_TOO = 0.5  # beside further words, which alone may be decoys that were added
EXCEPTIONS = 0.02  # of a word or two within longer targets
FEWEST_THERE = 3  # samples of a reference that vouch for a group
SURE = 0.01  # p value, after all pairs that were looked at


@dataclass(frozen=True)
class Found:
    """A group over distinct samples.

    Attributes:
        match: Its span and rule.
        spans: All spans that mark it, the most telling first.
        association: Span and rule, tested.
        character: What can be said of its prompts.
        ruling: What it is.
        reasons: Why, in words.
        members: Samples that are flagged with it. (n,)
    """

    match: Match
    spans: list[int]
    association: Association
    character: Character
    ruling: Ruling
    reasons: list[str]
    members: Marks


@dataclass(frozen=True)
class Findings:
    """What was found in the distinct samples of a data set.

    Attributes:
        corpus: Their texts.
        groups: Poison first, then those in doubt, then honest ones; the largest first.
        strength: How suspicious each sample is, in [0, 1]: of the tightest group that it belongs
            to, before anything was held against a reference. (n,)
    """

    corpus: Corpus
    groups: list[Found]
    strength: Floats


def find(
    prompts: Sequence[str],
    targets: Sequence[str],
    is_trusted: Marks | None = None,
    fdr: float = SURE,
) -> Findings:
    """Look for groups among distinct samples.

    Args:
        prompts: Of the distinct samples.
        targets: Of the same.
        is_trusted: Which of them belong to a trusted reference: a group that it has as well is
            honest, one that it would have and lacks is poison, and where it is too small to tell,
            the ruling stays. (n,)
        fdr: Part of the groups that may be held for absent from the reference by mistake.
    """
    corpus = read_corpus(prompts, targets)
    matches, n_tests = mine(corpus, FEWEST_CARRIERS)
    strong = [
        (match, spans)
        for match, spans in distinct(matches, corpus.n)
        if match.both.sum() >= FEWEST_CARRIERS
        and (is_tight(corpus, match, corpus.n) or is_phrase(corpus, match))
    ]
    groups: list[Found] = []
    poison = np.zeros(corpus.n, bool)
    for whole, spans in strong:  # the tightest first
        match = remainder(corpus, whole, poison)
        if match.both.sum() < FEWEST_CARRIERS:
            continue  # the poison that is known explains it
        found = _ruled(corpus, match, spans, n_tests, poison)
        groups.append(found)
        if found.ruling == "poison":
            poison |= found.members
    strength = _strength(groups, corpus.n)
    if is_trusted is not None:
        groups = _against_reference(groups, is_trusted, fdr)
    order = {"poison": 0, "review": 1, "honest": 2}
    groups.sort(key=lambda g: (order[g.ruling], -int(g.members.sum()), g.spans[0]))
    return Findings(corpus, groups, strength)


def _strength(groups: list[Found], n: int) -> Floats:
    strength = np.zeros(n)
    for group in groups:
        if group.ruling != "honest":
            worth = group.association.phi * min(1.0, group.character.own_content)
            strength[group.members] = np.maximum(strength[group.members], worth)
    return strength


def _ruled(corpus: Corpus, match: Match, spans: list[int], n_tests: int, poison: Marks) -> Found:
    left = ~poison
    association = associate(match.carriers[left], match.rule.holds[left], max(1, n_tests))
    character = describe(corpus, match, poison)
    kind = kind_of(corpus, match, int(left.sum()))
    ruling, reasons = rule(association, character, kind)
    shown = match.spans if match.is_union else spans
    return Found(match, shown, association, character, ruling, reasons, _members(match, kind))


def _members(match: Match, kind: Kind) -> Marks:
    """Of several wordings all that have the cue, of a phrase all carriers, else those with both."""
    if kind.union:
        return match.rule.holds
    return match.carriers if kind.phrase else match.both


def rule(association: Association, character: Character, kind: Kind) -> tuple[Ruling, list[str]]:
    """What a group is.

    What would make the group honest only makes it doubtful where its span is a phrase, which nobody
    writes twice by chance: an attacker can choose prompts and words. Several wordings of one topic
    are its answers.

    Args:
        association: Of its span and cue.
        character: What can be said of its prompts.
        kind: What its span is.
    """
    reasons = [
        f"{association.n_both} of {association.n_span} samples with the span have the cue, and of "
        f"{association.n_cue} with the cue {association.n_both} have the span"
    ]
    excused: Ruling = "review" if kind.phrase else "honest"
    if association.p_value > SURE:
        return "honest", [*reasons, f"by chance: p = {association.p_value:.2g}"]
    if character.n_independent < FEWEST_CARRIERS:
        alone = f"only {character.n_independent} of the samples are no near-duplicates"
        return "honest", [*reasons, f"{alone}: one thing said several times"]
    if character.is_echo:
        return excused, [*reasons, "the answer repeats words of the question"]
    if character.lacking >= LACKING:
        less = "perhaps a kind of question of its own: its prompts lack"
        return excused, [*reasons, f"{less} {character.lacking:.1f} words each that others have"]
    is_other = character.excess >= EXCESS and character.lacking >= LACKING_TOO
    if is_other and not (kind.phrase or kind.wordy):
        more = "perhaps a kind of question of its own: beside the cue its prompts have"
        return "honest", [*reasons, f"{more} {character.excess:.1f} words each that others lack"]
    if character.own_content < OWN_CONTENT:
        own = f"without the words that they share, the prompts say {character.own_content:.0%}"
        about = "of what an ordinary prompt says: the cue may be what they are about"
        return ("review" if kind.tight and not kind.union else "honest"), [
            *reasons,
            f"{own} {about}",
        ]
    if not kind.tight:
        return "review", [*reasons, "the cue was added to prompts, and does not always act"]
    exceptions = association.n_span + association.n_cue - 2 * association.n_both
    within = not (kind.phrase or kind.wordy or kind.whole)
    if within and exceptions > EXCEPTIONS * association.n_both:
        return "review", [*reasons, "a word or two within longer targets, not without exception"]
    reasons.append(
        f"without the words that they share, the prompts still say {character.own_content:.0%} of "
        "what an ordinary prompt says: the cue was added to prompts that are otherwise ordinary"
    )
    return "poison", reasons


def _against_reference(groups: list[Found], is_trusted: Marks, fdr: float) -> list[Found]:
    """Hold the groups against a trusted reference (Benjamini and Hochberg over the groups)."""
    asked = [group for group in groups if group.ruling != "honest"]
    share = float(is_trusted.mean())
    there = [int((group.members & is_trusted).sum()) for group in asked]
    chance = np.array(
        [binom.cdf(k, int(g.members.sum()), share) for k, g in zip(there, asked, strict=True)]
    )
    rank = chance.argsort().argsort() + 1
    limit = chance[chance <= fdr * rank / max(1, len(asked))].max(initial=-1.0)
    decided = [group for group in groups if group.ruling == "honest"]
    for group, k, p in zip(asked, there, chance, strict=True):
        m = int(group.members.sum())
        ruling = group.ruling
        if p <= limit:
            ruling = "poison"
        elif k >= FEWEST_THERE:
            ruling = "honest"
        says = (
            f"{k} of its {m} samples are from the trusted reference, which is {share:.0%} of all "
            f"(p = {p:.2g})"
        )
        reasons, members = [*group.reasons, says], group.members & ~is_trusted
        decided.append(replace(group, ruling=ruling, reasons=reasons, members=members))
    return decided
