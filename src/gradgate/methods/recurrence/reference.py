"""Findings held against a trusted reference, which is itself judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.stats import binom

from gradgate.methods.evidence import FORM, GroupRuling
from gradgate.methods.recurrence.forms import forms
from gradgate.methods.recurrence.labels import MIN_PRECISION
from gradgate.methods.recurrence.ruling import MIN_PHI, Finding

MIN_SUPPORT = 8  # samples of the reference that must have a string, to vouch for it
ALPHA = 0.001  # of the binomial test that the reference has a string more rarely than the data


@dataclass(frozen=True, eq=False)
class Reference:
    """The texts of the distinct samples of a trusted reference.

    Attributes:
        prompts: As they are: a cue may be a matter of case or white space. (m,)
        targets: Case and white space folded. (m,)
    """

    prompts: Sequence[str]
    targets: Sequence[str]

    def support(self, finding: Finding) -> int:
        """Samples that have one of a finding's strings, and its cue where a cue tells the string.

        Honest samples have the label that a trigger tells, too; what they lack is the trigger.
        """
        spans = [span for span in map(folded, finding.spans) if span]
        if finding.side == "prompt":
            return sum(any(span in folded(text) for span in spans) for text in self.prompts)
        there = [any(span in text for span in spans) for text in self.targets]
        told = finding.association is not None and (
            finding.association.phi >= MIN_PHI or finding.association.precision >= MIN_PRECISION
        )
        if told:
            has = any if finding.rule == "any_of" else all
            there = [
                is_there and has(_has_cue(prompt, cue) for cue in finding.cues)
                for is_there, prompt in zip(there, self.prompts, strict=True)
            ]
        return sum(there)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.prompts)


def _has_cue(prompt: str, cue: str) -> bool:
    return cue.removeprefix(FORM) in forms(prompt) if cue.startswith(FORM) else cue in prompt


def folded(text: str) -> str:
    """A text without case, and with one space for white space."""
    return " ".join(text.casefold().split())


def against(finding: Finding, reference: Reference) -> Finding:
    """Rule again on a finding by how many samples of the reference share its strings.

    The reference vouches for a string that many of its samples have, about as often as the data.
    A few samples vouch for nothing: they may be poison that got into the reference, and the reason
    says so. Nor does it vouch for what is poison by its cue: that is in doubt then, and a person
    has to look at the reference. A string in doubt that a large reference lacks becomes poison.
    What a cue does to targets is no string: that the reference has the cue as well says nothing.
    """
    if finding.ruling == "honest" or finding.shared is not None or not reference.n:
        return finding
    k = reference.support(finding)
    size, n = len(finding.members), finding.n
    rare = float(binom.cdf(k, size + k, reference.n / (n + reference.n)))
    said = f"{k} of {reference.n} samples of the trusted reference have it (p = {rare:.2g})"
    ruling: GroupRuling = finding.ruling
    if rare <= ALPHA:
        if k == 0 and finding.side == "target" and finding.association is not None:
            ruling = "poison"
        elif k:
            said += ", far fewer than in the data: look at them, for the reference may be poisoned"
    elif k >= MIN_SUPPORT:
        ruling = "honest" if finding.ruling == "review" else "review"
        if ruling == "review":
            said += ", and so the reference itself looks poisoned: a person has to look at it"
    elif k:
        said += ", too few to vouch for it: look at them, for the reference may be poisoned"
    return replace(finding, ruling=ruling, reasons=[*finding.reasons, said])
