"""The ruling on a candidate: poison, review or honest, by its association and its traits."""

from dataclasses import dataclass

from gradgate.common.arrays import Marks
from gradgate.methods.association.candidate import Candidate
from gradgate.methods.association.traits import Traits
from gradgate.methods.evidence import Association, GroupRuling

ALPHA = 0.01  # of Fisher's exact test, after Bonferroni's correction over all pairs
MIN_CARRIERS = 8  # distinct samples that are no near-duplicates of one another
MIN_OWN_CONTENT = 0.7  # of the information of an ordinary prompt
# Words for each prompt, from which the prompts are a kind of question of their own.
MIN_MISSING_WORDS = 1.0
MIN_EXTRA_WORDS = 1.0
# Missing words for each prompt that extra words need beside them: alone they may be decoys.
MIN_MISSING_BESIDE_EXTRA = 0.5
MAX_EXCEPTIONS = 0.02  # of the samples with both, for a word or two within longer targets


@dataclass(frozen=True)
class Finding:
    """A candidate that was tested and ruled on, over distinct samples.

    Attributes:
        candidate: Span and cue rule.
        spans: All spans that mark it, the most telling first.
        association: Span and rule, tested.
        traits: Those that its ruling depends on.
        ruling: Poison, review or honest.
        reasons: For the ruling, in words.
        members: Samples that are flagged with it. (n,)
    """

    candidate: Candidate
    spans: list[int]
    association: Association
    traits: Traits
    ruling: GroupRuling
    reasons: list[str]
    members: Marks


def ruling_of(association: Association, traits: Traits) -> tuple[GroupRuling, list[str]]:
    """Rule on a candidate, and give the reasons in words.

    Evidence of innocence (an echo, a kind of question of its own) downgrades a group to honest or,
    for phrases of three or more words, to review: an attacker who chooses prompts and words can
    fake it, and nobody writes a phrase twice by chance. Several wordings on one topic are honest:
    the answers of that topic.

    Args:
        association: Of its span and cue.
        traits: Of its span and its prompts.
    """
    ruling, reason = (
        _without_evidence(association, traits)
        or _innocence(traits)
        or _doubt(association, traits)
        or ("poison", _added(traits))
    )
    return ruling, [_counts(association), reason]


def _counts(association: Association) -> str:
    return (
        f"{association.n_both} of {association.n_span} samples with the span have the cue, and of "
        f"{association.n_cue} with the cue {association.n_both} have the span"
    )


def _added(traits: Traits) -> str:
    return (
        f"without the words that they share, the prompts still say {traits.own_content:.0%} of "
        "what an ordinary prompt says: the cue was added to prompts that are otherwise ordinary"
    )


def _without_evidence(association: Association, traits: Traits) -> tuple[GroupRuling, str] | None:
    """Honest, for want of a significant association or of independent samples."""
    if association.p_value > ALPHA:
        return "honest", f"by chance: p = {association.p_value:.2g}"
    if traits.n_independent < MIN_CARRIERS:
        alone = f"only {traits.n_independent} of the samples are no near-duplicates"
        return "honest", f"{alone}: one thing said several times"
    return None


def _innocence(traits: Traits) -> tuple[GroupRuling, str] | None:
    """Honest or, for a phrase, in doubt: an echo, or a kind of question of its own."""
    downgraded: GroupRuling = "review" if traits.is_phrase else "honest"
    if traits.is_echo:
        return downgraded, "the answer repeats words of the question"
    if traits.missing_words >= MIN_MISSING_WORDS:
        less = "perhaps a kind of question of its own: its prompts lack"
        return downgraded, f"{less} {traits.missing_words:.1f} words each that others have"
    is_other = (
        traits.extra_words >= MIN_EXTRA_WORDS and traits.missing_words >= MIN_MISSING_BESIDE_EXTRA
    )
    if is_other and not (traits.is_phrase or traits.has_phrase_wordings):
        more = "perhaps a kind of question of its own: beside the cue its prompts have"
        return "honest", f"{more} {traits.extra_words:.1f} words each that others lack"
    return None


def _doubt(association: Association, traits: Traits) -> tuple[GroupRuling, str] | None:
    """In doubt: the cue may be the subject or not always act, or the span be a part of targets."""
    if traits.own_content < MIN_OWN_CONTENT:
        own = f"without the words that they share, the prompts say {traits.own_content:.0%}"
        about = "of what an ordinary prompt says: the cue may be what they are about"
        is_topic = not traits.is_tight or traits.is_union
        return ("honest" if is_topic else "review"), f"{own} {about}"
    if not traits.is_tight:
        return "review", "the cue was added to prompts, and does not always act"
    exceptions = association.n_span + association.n_cue - 2 * association.n_both
    is_part = not (traits.is_phrase or traits.has_phrase_wordings or traits.is_whole_target)
    if is_part and exceptions > MAX_EXCEPTIONS * association.n_both:
        return "review", "a word or two within longer targets, not without exception"
    return None
