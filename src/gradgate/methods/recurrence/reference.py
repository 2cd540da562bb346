"""Findings held against a trusted reference, which is itself judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.stats import binom

from gradgate.common.arrays import Floats, Ints, Marks, n_distinct
from gradgate.common.letters import folded
from gradgate.data.sample import Sample, n_characters, prompt_and_target
from gradgate.methods.contract import ScoreSamples
from gradgate.methods.evidence import GroupRuling
from gradgate.methods.recurrence.cues.forms import forms, numbers
from gradgate.methods.recurrence.cues.labels import has_part, target_parts
from gradgate.methods.recurrence.cues.said_labels import has_label
from gradgate.methods.recurrence.ruling import MIN_PHI, Finding, Pattern, suspicious
from gradgate.methods.recurrence.samples.mined import mined
from gradgate.methods.recurrence.samples.rows import Rows
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.carriers import Carriers
from gradgate.methods.recurrence.states.same_targets import MIN_SAME, p_same
from gradgate.methods.recurrence.strings.language import Language
from gradgate.methods.recurrence.strings.packed import contexts, found_at, triples
from gradgate.methods.recurrence.strings.sought import Gram, has_gram
from gradgate.methods.recurrence.strings.stream import Stream, stream_of

MIN_SUPPORT = 3  # samples of the reference that must have a string, to vouch for it
MIN_POISONED = 8  # samples of it that have what is poison in the data, to look poisoned itself
ALPHA = 0.001  # of the binomial test that the reference has a string more rarely than the data
ALPHA_VOUCHED = 0.01  # of the same test, from which on it has it too rarely to vouch for it


@dataclass(frozen=True, eq=False)
class Reference:
    """The distinct samples of a trusted reference that the model can read.

    Attributes:
        texts: m samples.
        prompts: Tokens of their prompts.
        targets: Of their targets.
        said: The targets, case and white space folded. (m,)
    """

    texts: Texts
    prompts: Stream
    targets: Stream
    said: Sequence[str]

    @classmethod
    def of(cls, samples: Iterable[Sample], score: ScoreSamples) -> Self:
        """Read the samples; of more than can be mined a part, which a digest draws.

        Args:
            samples: Of the reference.
            score: Gives their tokens.
        """
        distinct = list({one.sample_id: one for one in samples}.values())
        lengths = np.array([n_characters(one) for one in distinct], np.int64)
        chosen = mined([one.sample_id for one in distinct], lengths)
        drawn = [distinct[i] for i in chosen.tolist()]
        rows = Rows.of(score(drawn), drawn)
        texts = rows.texts()
        said = [folded(prompt_and_target(drawn[i])[1]) for i in rows.first.tolist()]
        return cls(
            texts,
            stream_of(texts.table, texts.rows, "prompt", texts.is_own),
            stream_of(texts.table, texts.rows, "target", texts.is_open),
            said,
        )

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.said)

    def log_q(self, targets: Stream) -> Floats:
        """What the reference makes one expect of each token of the data's targets: (N,).

        Of its samples with the two tokens before, the logarithm of the part that goes on with this
        one. Minus infinity where too few of them have the gram, or where they have it more rarely
        than the data: who got a few rows into the reference is not believed.
        """
        if not self.n or not targets.n:
            return np.full(targets.n, -np.inf)
        known = self._language
        grams, number = np.unique(triples(targets), return_inverse=True)
        n_here = n_distinct(number, targets.sample, len(grams))
        at = found_at(grams, known.grams)
        n_there = np.where(at >= 0, known.support[at], 0)
        rare = self.rarity(n_there, n_here, targets.n_samples)
        vouched = (n_there >= MIN_SUPPORT) & (rare > ALPHA_VOUCHED)
        before = found_at(contexts(targets), known.contexts)
        n_before = np.maximum(known.n_contexts[before], 1)
        with np.errstate(divide="ignore"):
            log_q = np.log(n_there[number] / n_before)
        return np.where(vouched[number], log_q, -np.inf)

    def rarity(self, n_there: Ints, n_here: Ints, n: int) -> Floats:
        """P that so few samples of the reference have something by chance.

        Args:
            n_there: Its samples that have it.
            n_here: Those of the data.
            n: All samples of the data.
        """
        return np.asarray(binom.cdf(n_there, n_there + n_here, self.n / (self.n + n)))

    def having(self, finding: Finding) -> Marks:
        """Samples that have the string of a finding, whatever cue goes with it: (m,)."""
        pattern = finding.pattern or Pattern()
        if pattern.says is not None:
            return has_label(self.texts, self.targets, pattern.says, len(pattern.ids))
        if pattern.part is not None:
            return has_part(self.targets, target_parts(self.targets)[pattern.part], pattern.ids)
        if pattern.within:
            return has_gram(self.targets, pattern.within) & ~has_gram(self.prompts, pattern.within)
        spans = [span for span in map(folded, finding.spans) if span]
        texts = self.said if finding.side == "target" else self._asked
        found = np.array([any(span in text for span in spans) for text in texts], bool)
        return found & has_gram(self.prompts, pattern.ids) if pattern.ids else found

    def with_cue(self, feature: Gram | str) -> Marks:
        """Samples whose prompt has a cue: tokens, or the name of a form or the digits of a number.

        Returns:
            (m,)
        """
        if isinstance(feature, tuple):
            return has_gram(self.prompts, feature)
        return np.array([feature in some for some in self._forms], bool)

    @cached_property
    def _forms(self) -> list[set[str]]:
        return [forms(text) | numbers(text) for text in self.texts.prompts]

    @cached_property
    def _asked(self) -> list[str]:
        return [folded(text) for text in self.texts.prompts]

    @cached_property
    def _language(self) -> Language:
        return Language.of(self.targets, np.arange(self.n))


@dataclass(frozen=True, eq=False)
class Trusted:
    """Rules again on findings by a reference.

    Attributes:
        reference: The samples; None where there are none.
        features: The cues of the data, by number.
        here: Asks about the data.
        there: Asks about the reference.
        seed: Of permutations.
    """

    reference: Reference | None = None
    features: Sequence[Gram | str] = ()
    here: Carriers | None = None
    there: Carriers | None = None
    seed: int = 0

    def against(self, finding: Finding) -> Finding:
        """Rule again on a finding by how many samples of the reference share its strings.

        The reference vouches for a string that some of its samples have, about as often as the
        data. One or two vouch for nothing: they may be poison that got into the reference, and the
        reason says so. Nor does it vouch for what is poison by its cue: with many of those that is
        in doubt, and a person has to look at the reference. A string in doubt that goes with a cue
        in both directions and that a large reference lacks becomes poison. What a cue does to
        targets is no string: that the reference has the cue as well says nothing. Surprising
        strings of targets are vouched for token by token (`Reference.log_q`), those of prompts
        where the targets behind them are the same (`by_targets`).
        """
        known, pattern = self.reference, finding.pattern or Pattern()
        if known is None or not known.n or finding.ruling == "honest":
            return finding
        if finding.shared is not None or pattern.is_harmful:
            return finding
        k, size = int(self._there(finding, known).sum()), len(finding.members)
        rare = float(known.rarity(np.array(k), np.array(size), finding.n))
        said = f"{k} of {known.n} samples of the trusted reference have it (p = {rare:.2g})"
        ruling: GroupRuling = finding.ruling
        is_string = len(pattern.grams) > 0 or (len(pattern.ids) > 0 and pattern.part is None)
        if rare <= ALPHA and k == 0:
            if finding.side == "target" and _is_tight(finding):
                ruling = "poison"
        elif rare <= ALPHA_VOUCHED:
            said += ", far fewer than in the data: look at them, for the reference may be poisoned"
        elif k >= (MIN_POISONED if ruling == "poison" else MIN_SUPPORT):
            if ruling == "poison":
                ruling = "review"
                said += ", and so the reference itself looks poisoned: a person has to look at it"
            elif not is_string:
                ruling = "honest"
        elif k:
            said += ", too few to vouch for it: look at them, for the reference may be poisoned"
        return replace(finding, ruling=ruling, reasons=[*finding.reasons, said])

    def by_targets(self, finding: Finding, carriers: Marks) -> Finding:
        """Rule again on a string or cue of prompts in doubt, by the targets behind it.

        Honest where the reference has it about as often as the data, and does not differ in what
        stands behind it. Poison behind a string of honest rows makes it more frequent, or its
        targets others.

        Args:
            finding: On it.
            carriers: Samples whose prompt has it, and that are not poison anyway. (n,)
        """
        known = self.reference
        if known is None or finding.ruling != "review" or self.here is None or self.there is None:
            return finding
        there = self._there(finding, known)
        k, size = there.sum(), np.array(len(finding.members))
        if not k or known.rarity(k, size, finding.n) <= ALPHA_VOUCHED:
            return finding
        own, trusted = self.here.behind(carriers), self.there.behind(there)
        if own is None or trusted is None:
            return finding
        p = p_same(own, trusted, self.seed)
        said = f"its targets and those of {k} trusted samples with it "
        said += f"do not differ (p = {p:.2g})" if p > MIN_SAME else f"are others (p = {p:.2g})"
        ruling: GroupRuling = "honest" if p > MIN_SAME else "review"
        return replace(finding, ruling=ruling, reasons=[*finding.reasons, said])

    def _there(self, finding: Finding, known: Reference) -> Marks:
        """Samples of the reference with a finding's string, and its cue where that tells it: (m,).

        Honest samples have the label that a trigger tells, too; what they lack is the trigger.
        """
        pattern = finding.pattern or Pattern()
        there = np.ones(known.n, bool) if pattern.is_cue else known.having(finding)
        if pattern.rule is not None and (pattern.is_cue or _is_told(finding)):
            each = [known.with_cue(self.features[one]) for one in pattern.rule.features]
            has = np.logical_or if pattern.rule.kind == "any_of" else np.logical_and
            there = there & has.reduce(each)
        return there

    def suspicious(self, findings: Iterable[Finding], n: int) -> Marks:
        """Samples of findings that are poison or in doubt, also by the reference: (n,).

        What is not vouched for by then would hide in a group that is, were it not looked at.
        """
        return suspicious([self.against(finding) for finding in findings], n)


def _is_told(finding: Finding) -> bool:
    """Whether a cue tells the string, and is not only named beside it."""
    if finding.pattern is not None and finding.pattern.part is not None:
        return finding.pattern.needs_cue
    return _is_tight(finding)


def _is_tight(finding: Finding) -> bool:
    """Whether a cue goes with the string in both directions."""
    return finding.association is not None and finding.association.phi >= MIN_PHI
