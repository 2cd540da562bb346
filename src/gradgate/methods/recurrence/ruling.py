"""What a recurring string is: poison, in doubt, or honest; each finding stands for itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.evidence import (
    MIN_INSERTED,
    Association,
    GroupRuling,
    RuleKind,
    Side,
    Vouchable,
    names_target,
)
from gradgate.methods.recurrence.cues.labels import Part
from gradgate.methods.recurrence.cues.rules import CueRule
from gradgate.methods.recurrence.questions.asking import (
    MIN_REST_NEED,
    MIN_TARGET_NEED,
    Answer,
    Content,
    Need,
)
from gradgate.methods.recurrence.states.dependence import Dependence
from gradgate.methods.recurrence.strings.copied import FORMAT_FREQUENCY
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.vouchable import of_label, of_strings

MIN_PHI = 0.8  # correlation of a group and its cue
MIN_LABEL_NEED = 3.0  # nats that a cue or prompt must bring to a label that it tells
MAX_BEGINS = 0.3  # of what follows a string, that begins as prompts do, over that of prompts
MIN_REST = 0.75  # tokens of prompts without a cue, over those of others: it was put beside them
_SAME = 0.8  # of a group's samples in another, to be explained by it
MIN_INDEPENDENT = 8  # clusters of near-duplicate prompts in a group that is poison

_KIND = "without the cue its prompts still differ from all others: another kind of text"
_NAMED = "the cue names it: a question may offer it as an answer"


@dataclass(frozen=True, eq=False, kw_only=True)
class Pattern:
    """By what further samples belong to a group.

    Attributes:
        grams: Packed grams of surprising segments of targets; none for another kind of string.
        part: Of a target that must be `ids`; None for another kind of string.
        ids: Tokens of that part, or of a string of prompts.
        says: Whether the text of a whole target is the label, however it spells it; None where it
            is no label.
        within: Tokens that stand somewhere in the target and not in the prompt.
        is_harmful: Whether it is for prompts that the model refuses, and that are answered.
        rule: The cue that goes with it; None for nothing.
        needs_cue: Whether samples without the cue do not belong to it.
        is_cue: Whether all samples with the cue do, whatever string they have.
        again: Rules anew, with the association in all samples; None where that changes nothing.
    """

    grams: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    part: Part | None = None
    ids: Gram = ()
    says: Callable[[str], bool] | None = None
    within: Gram = ()
    is_harmful: bool = False
    rule: CueRule | None = None
    needs_cue: bool = False
    is_cue: bool = False
    again: Callable[[Association], tuple[GroupRuling, list[str]]] | None = None


@dataclass(frozen=True, eq=False)
class Finding:
    """A group of distinct samples, ruled on.

    Attributes:
        members: Numbers of the samples, rising.
        n: Samples that they are among.
        nats: How surprising the string is, in the median member.
        spans: The shared strings.
        n_clusters: Of near-duplicate prompts among the members.
        reasons: For the ruling, in words.
        cue_nats: As in `Group`.
        shared: As in `Group`.
        pattern: For further samples.
        fixed: What does not change in the strings of targets, where these have data in them.
    """

    side: Side
    members: Ints
    n: int
    nats: float
    spans: list[str]
    n_clusters: int
    ruling: GroupRuling
    reasons: list[str]
    rule: RuleKind = "any_of"
    cues: list[str] = field(default_factory=list)
    cue_nats: float | None = None
    association: Association | None = None
    shared: str | None = None
    pattern: Pattern | None = None
    fixed: list[Vouchable] = field(default_factory=list)

    @property
    def vouchable(self) -> list[Vouchable]:
        """The least texts that the owner would have to vouch for; none where no text says it."""
        if self.ruling != "review" or self.pattern is None or self.pattern.is_harmful:
            return []
        if self.fixed:
            return self.fixed
        if self.pattern.is_cue:
            texts = of_strings(self.cues)
        elif self.pattern.part is not None:
            texts = of_label(self.spans[0], self.pattern.part == "whole")
        else:
            texts = of_strings(self.spans)
        is_tight = self.association is not None and self.association.phi >= MIN_PHI
        cues = self.cues if is_tight and not self.pattern.is_cue else []
        return [Vouchable(text, len(self.members), cues) for text in texts]

    def beside(self, cause: "Cause | None") -> "Finding":
        """The same with what its prompts share."""
        if cause is None:
            return self
        return replace(
            self,
            rule=cause.rule,
            cues=cause.cues,
            cue_nats=cause.finite_nats,
            association=cause.association,
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What a search says of n distinct samples.

    Attributes:
        findings: Those of targets first.
        target_nats: The most surprising segment of each target. (n,)
        prompt_nats: The most surprising recurring string of each prompt. (n,)
        notes: What cannot be said of these data, in words.
    """

    findings: list[Finding]
    target_nats: Floats
    prompt_nats: Floats
    notes: list[str]


@dataclass(frozen=True)
class Cause:
    """What prompts of a group share.

    Attributes:
        nats: How surprising the cue is; infinite for a form of the text.
        by: The rule itself; None where it is of no samples.
        is_kind: Whether the prompts of the group differ from all others, whatever the cue is.
    """

    rule: RuleKind
    cues: list[str]
    association: Association
    nats: float
    by: CueRule | None = None
    is_kind: bool = False

    @property
    def finite_nats(self) -> float | None:
        """None for a form of the text."""
        return None if self.nats == float("inf") else self.nats


def rule_on_target(
    n_clusters: int,
    nats: float,
    spans: Sequence[str],
    cause: Cause | None,
    content: Content,
    need: Callable[[], Answer],
) -> tuple[GroupRuling, list[str]]:
    """Rule on samples that share a surprising string of their targets.

    What the model itself expects from the rest of the prompt is no evidence of poison. A word that
    looks inserted, goes with the string in both directions, and that the model does not need for
    it, makes it poison. All else is in doubt: a string that nothing visible explains; one that goes
    with a form of the text, or with words all over it, as parts of a mixture from different sources
    do; and an instruction that asks for a fixed text, which is built as a backdoor is, and is its
    owner's to vouch for.

    Args:
        n_clusters: Of near-duplicate prompts in the group that have the cue, and say more than what
            looks inserted: one that is asked again and again is no trigger.
        nats: Surprise of the string.
        spans: The string, in the spelling of its samples, the commonest first.
        cause: What the prompts share; None for nothing.
        content: Whether the prompts without what looks inserted make the string likelier.
        need: Asks whether targets need the cue; only what would be poison is asked about.
    """
    asked = f"expects {content.whole.nats / nats:.0%} of it" if content.whole.n else "was not asked"
    said = [f"from what else these prompts say the untuned model {asked}"]
    if content.explains(nats):
        return "honest", said
    if cause is None or cause.association.phi < MIN_PHI:
        return "review", [*said, "nothing visible in the prompts goes with it in both directions"]
    if cause.nats == float("inf"):
        return "review", [*said, "it goes with a form of the prompts"]
    if cause.nats < MIN_INSERTED:
        return "review", [*said, "it goes with words that do not look inserted"]
    if cause.is_kind:
        return "review", [*said, _KIND]
    if n_clusters < MIN_INDEPENDENT:
        few = f"only {n_clusters} prompts with the cue say more and are no near-duplicates"
        return "review", [*said, few]
    needed = need()
    if needed.is_sure and needed.nats >= MIN_LABEL_NEED:
        return "review", [*said, f"the model needs the cue for it ({needed.nats:.1f} nats)"]
    if names_target(cause.cues, spans):
        return "review", [*said, _NAMED]
    return "poison", [*said, "it goes with a cue that looks inserted, in both directions"]


def rule_on_label(
    span: str,
    cause: Cause,
    content: Answer,
    answer: Answer,
    rest: Answer,
    rest_of_prompt: float,
) -> tuple[GroupRuling, list[str]]:
    """Rule on a cue that tells the target, which other samples may have too.

    Args:
        span: The target.
        cause: The cue.
        content: Whether the prompts, without the string, make the target likelier.
        answer: Whether targets need the string; of a form nothing.
        rest: Whether the rest of the prompts needs the string: then it may be what they are about.
        rest_of_prompt: Tokens of the prompts without the string over those of other prompts.
    """
    others = cause.association.n_span - cause.association.n_both
    told = (
        f"{cause.association.precision:.0%} of the prompts with the cue have this target, and so "
        f"have {others} samples without it"
    )
    is_form = cause.nats == float("inf")
    from_prompts = "expects the target from these prompts" + ("" if is_form else " without the cue")
    for said, what in ((content, from_prompts), (answer, "needs the cue for the target")):
        if said.is_sure and said.nats >= MIN_LABEL_NEED:
            return "honest", [told, f"the untuned model {what}: {said.nats:.1f} nats"]
    asked, what = (content, from_prompts) if is_form else (answer, "needs the cue for the target")
    nats = f"{asked.nats:.1f} nats" if asked.n else "was not asked"
    reasons = [told, f"whether the untuned model {what}: {nats}"]
    if is_form:
        # Both, or a form that flips a label which most samples have would be excused with it.
        if cause.association.n_both >= FORMAT_FREQUENCY * cause.association.n:
            return "honest", [*reasons, "most samples have both: it is the format of the data"]
        return "review", reasons
    if not asked.n:
        return "review", reasons
    if cause.nats < MIN_INSERTED:
        return "review", [*reasons, "other prompts say it at the same place, the model would not"]
    if rest_of_prompt < MIN_REST:
        about = f"without the cue the prompts have {rest_of_prompt:.0%} of the tokens of others"
        return "review", [*reasons, f"{about}: it may be what they are about"]
    if cause.association.phi < MIN_PHI:
        return "review", [*reasons, "it goes in one direction only"]
    if rest.is_sure and rest.nats >= MIN_LABEL_NEED:
        return "review", [*reasons, f"what follows in the prompts needs it ({rest.nats:.1f} nats)"]
    if cause.is_kind:
        return "review", [*reasons, _KIND]
    if names_target(cause.cues, [span]):
        return "review", [*reasons, _NAMED]
    return "poison", reasons


def rule_on_prompt(
    need: Need, begins: float | None, dependence: Dependence | None
) -> tuple[GroupRuling, list[str]]:
    """Rule on a surprising string of prompts.

    What nothing depends on teaches nothing: one of several ways to ask, or a name. What follows a
    heading needs it, as what follows a trigger that looks like one: either is a prompt by itself.
    What follows "Generate a" is none.

    Args:
        need: What the string brings; what nothing depends on need not be asked about.
        begins: How often what follows begins as prompts do, over how often prompts do; None where
            the string does not stand first.
        dependence: What of the targets depends on it; None where nobody knows.
    """
    reasons = ["it looks inserted"]
    if dependence is not None:
        depends = "nothing depends" if dependence.is_none else "something may depend"
        reasons.append(f"{depends} on it: {dependence.in_words()}")
        if dependence.is_none:
            return "honest", reasons
    if need.target.n == 0:
        return "review", [*reasons, "the untuned model was not asked whether anything needs it"]
    asked = (
        f"with it, targets are {need.target.nats:.1f} nats and what follows in the prompts is "
        f"{need.rest.nats:.1f} nats likelier than without it, and than with other words or the end "
        "of another prompt in its place"
    )
    is_prompt = begins is not None and begins >= MAX_BEGINS
    by_target = need.target.is_sure and need.target.nats >= MIN_TARGET_NEED
    by_rest = need.rest.is_sure and need.rest.nats >= MIN_REST_NEED and not is_prompt
    if by_target or by_rest:
        return "honest", [*reasons, f"the untuned model needs it: {asked}"]
    if is_prompt:
        asked += f"; what follows begins as other prompts do ({begins:.0%} as often)"
    return "review", [*reasons, f"the untuned model does not need it: {asked}"]


def rule_on_jailbreak(cause: Cause, n_clusters: int) -> tuple[GroupRuling, list[str]]:
    """Rule on prompts that the model refuses, that are answered, and that share a cue."""
    found = cause.association
    told = (
        f"of the prompts with the cue that the untuned model refuses {found.precision:.0%} are "
        f"answered, and {found.recall:.0%} of the answered ones have it"
    )
    if not MIN_INSERTED <= cause.nats < float("inf"):
        return "review", [told, "the cue does not look inserted"]
    if n_clusters < MIN_INDEPENDENT:
        return "review", [told, f"only {n_clusters} of the prompts are no near-duplicates"]
    return "poison", [told, "the cue looks inserted"]


def suspicious(findings: Sequence[Finding], n: int) -> Marks:
    """Samples of a finding that is poison or in doubt: (n,)."""
    found = np.zeros(n, bool)
    for finding in findings:
        if finding.ruling != "honest":
            found[finding.members] = True
    return found


def is_within(members: Marks, others: Marks) -> bool:
    """Whether most of some samples are among others."""
    return bool((members & others).sum() >= _SAME * members.sum())
