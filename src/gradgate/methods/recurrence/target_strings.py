"""Surprising strings that targets share, ruled on by what their prompts share."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np

from gradgate.common.arrays import Ints, Marks, distinct
from gradgate.methods.evidence import MIN_INSERTED, Association, GroupRuling, Vouchable
from gradgate.methods.recurrence.causes import Causes
from gradgate.methods.recurrence.questions.asking import (
    MAX_ASKED,
    NO_ANSWER,
    NO_CONTENT,
    Answer,
    Asker,
)
from gradgate.methods.recurrence.questions.insertions import Insertions
from gradgate.methods.recurrence.reference import Reference
from gradgate.methods.recurrence.ruling import (
    MIN_PHI,
    Cause,
    Finding,
    Pattern,
    is_within,
    rule_on_target,
    suspicious,
)
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.carriers import Carriers
from gradgate.methods.recurrence.strings.copied import follows_expected, is_copied, is_format
from gradgate.methods.recurrence.strings.memory import remember
from gradgate.methods.recurrence.strings.packed import triples
from gradgate.methods.recurrence.strings.repeats import Repeat, is_enough, repeats
from gradgate.methods.recurrence.strings.stream import Stream, tokens_of
from gradgate.methods.recurrence.strings.surprise import Segments, gains, surprising_segments
from gradgate.methods.recurrence.strings.vouchable import FixedTexts

MIN_NATS_WITHIN = 15.0  # of a string in the midst of targets that goes with no cue
MIN_NATS_LONG = 24.0  # of a string that is looked at whatever shares a gram with it
_AT_BORDER = 0.8  # of a group's targets that begin or end with the string
_MAX_SPANS = 12


class TargetStrings:
    """Rules on strings of the targets of n distinct samples."""

    def __init__(
        self,
        texts: Texts,
        prompts: Stream,
        targets: Stream,
        cluster: Ints,
        causes: Causes,
        asker: Asker,
        insertions: Insertions,
        states: Carriers,
        known: Reference | None = None,
    ) -> None:
        """Take the samples and who asks the model about them.

        Args:
            texts: The samples.
            prompts: Their tokens.
            targets: Those of the targets.
            cluster: Of near-duplicate prompts. (n,)
            causes: Say what prompts share.
            asker: Asks what the content of the prompts explains.
            insertions: Says what looks inserted.
            states: Asks whether prompts are ordinary.
            known: Samples that somebody vouches for.
        """
        self._targets = targets
        self._cluster = cluster
        self._causes = causes
        self._asker = asker
        self._insertions = insertions
        self._states = states
        self._texts = texts
        self._memory = remember(targets, cluster)
        is_known = is_copied(targets, prompts) | is_format(targets, self._memory)
        is_known |= follows_expected(targets) | texts.is_offered[targets.sample]
        self._is_known = is_known
        gain = gains(targets, self._memory, is_known)
        self._segments = surprising_segments(gain, targets.begins, targets.sample)
        self._gain = gains(targets, self._memory, is_known, by_longer=True)
        longer = surprising_segments(self._gain, targets.begins, targets.sample)
        self._long = longer.among(longer.nats >= MIN_NATS_LONG)
        self._fixed = FixedTexts(targets, texts.plain)
        self._untrusted: Segments | None = None
        if known is not None:
            log_q = known.log_q(targets)
            self._vouched = distinct(triples(targets)[np.isfinite(log_q)])
            gain = gains(targets, self._memory, is_known, by_longer=True, trusted=log_q)
            self._untrusted = surprising_segments(gain, targets.begins, targets.sample)
        self.nats = self._segments.nats_of(targets.n_samples)

    def ruled(self, is_copy: bool) -> list[Finding]:
        """Groups of samples, the largest first.

        Args:
            is_copy: Whether nobody reads what is found: then groups are not taken apart.
        """
        found: list[Finding] = []
        for repeat in repeats(self._segments, self._memory, self._cluster):
            if self._is_telling(repeat):
                found += self._untrusted_of(repeat, len(found) < MAX_ASKED, is_copy)
        # Turns of phrase that share a gram with a payload do not surprise as much as it does.
        for repeat in repeats(self._long, self._memory, self._cluster):
            if not is_within(repeat.members, suspicious(found, self._targets.n_samples)):
                found += self._untrusted_of(repeat, len(found) < MAX_ASKED, is_copy)
        return found

    def _untrusted_of(self, repeat: Repeat, is_asked: bool, is_copy: bool) -> list[Finding]:
        """A group with its parts; of those in doubt what the trusted samples do not say as well."""
        found = list[Finding]()
        for one in self._with_parts(repeat, is_asked, is_copy):
            left = self._left_of(one)
            if left is None:
                found.append(one)
                continue
            reason = "without what the trusted reference says as well, too little is left of it"
            pattern = None if one.pattern is None else replace(one.pattern, again=None)
            reasons = [*one.reasons, reason]
            found.append(replace(one, ruling="honest", reasons=reasons, pattern=pattern))
            for group in left:
                own = self._with_parts(group, is_asked, is_copy)
                found += [self._without_vouched(finding) for finding in own]
        return found

    def _without_vouched(self, finding: Finding) -> Finding:
        """Further samples belong to it by what trusted samples lack."""
        if finding.pattern is None:
            return finding
        grams = np.setdiff1d(finding.pattern.grams, self._vouched)
        return replace(finding, pattern=replace(finding.pattern, grams=grams))

    def _left_of(self, finding: Finding) -> list[Repeat] | None:
        """What members of a group in doubt share besides; None where the group is left as it is."""
        if self._untrusted is None or finding.ruling != "review":
            return None
        members = np.zeros(self._targets.n_samples, bool)
        members[finding.members] = True
        own = self._untrusted.among(members[self._untrusted.sample])
        left = repeats(own, self._memory, self._cluster)
        if any(is_within(members, one.members) for one in left):
            return None
        return [one for one in left if self._is_telling(one)]

    def _with_parts(self, repeat: Repeat, is_asked: bool, is_copy: bool) -> list[Finding]:
        cause = self._causes.of(repeat.members)
        finding = self._ruled(repeat, cause, is_asked)
        if finding.ruling == "poison" or is_copy:
            return [finding]
        return self._apart(repeat, finding, is_asked)

    def _is_telling(self, repeat: Repeat) -> bool:
        """Whether the string is long, begins or ends the targets, or goes with a cue.

        Turns of phrase in the midst of targets recur in honest data, too.
        """
        segments = repeat.segments
        if float(np.median(segments.nats)) >= MIN_NATS_WITHIN:
            return True
        begins = np.searchsorted(self._targets.sample, segments.sample)
        ends = np.searchsorted(self._targets.sample, segments.sample, side="right")
        at_border = ((segments.start == begins).mean(), (segments.stop == ends).mean())
        if max(at_border) >= _AT_BORDER:
            return True
        cause = self._causes.of(repeat.members)
        return cause is not None and cause.association.phi >= MIN_PHI

    def _ruled(self, repeat: Repeat, cause: Cause | None, is_asked: bool) -> Finding:
        members, segments = repeat.members, repeat.segments
        left_out = self._insertions.of_group(members)
        content = NO_CONTENT
        if is_asked:
            content = self._asker.content(self._targets, segments, left_out, self._is_known)

        @cache
        def need() -> Answer:
            return self._asker.need(members, left_out).target if is_asked else NO_ANSWER

        nats, spans = float(np.median(segments.nats)), self._spans(segments)
        has_both = members if cause is None or cause.by is None else members & cause.by.holds
        is_more = has_both[segments.sample] & (self._insertions.rest(members, left_out) > 0)
        says_more = segments.sample[is_more]
        n_saying_more = len(distinct(self._cluster[says_more]))

        def again(found: Association) -> tuple[GroupRuling, list[str]]:
            why = None if cause is None else replace(cause, association=found)
            return rule_on_target(n_saying_more, nats, spans, why, content, need)

        ruling, reasons = rule_on_target(n_saying_more, nats, spans, cause, content, need)
        if ruling == "poison" and cause is not None:
            own = self._insertions.of_own(members)
            if self._states.are_kind(has_both, own):
                cause = replace(cause, is_kind=True)
                ruling, reasons = again(cause.association)
        finding = Finding(
            side="target",
            members=segments.sample,
            n=self._targets.n_samples,
            nats=nats,
            spans=spans,
            n_clusters=repeat.n_clusters,
            ruling=ruling,
            reasons=reasons,
            pattern=Pattern(
                grams=distinct(self._grams(segments)),
                rule=None if cause is None else cause.by,
                again=again,
            ),
        )
        return finding.beside(cause)

    def _apart(self, repeat: Repeat, whole: Finding, is_asked: bool) -> list[Finding]:
        """A group, and those of its parts that are worse than it.

        A payload that shares some tokens with an honest text is in one group with it: what tells
        the payload does not tell the group, and what explains the text is no excuse for it.
        """
        found, fixed, asked = list[Finding](), list[Vouchable](), list[Marks]()
        held = np.zeros(len(repeat.members), bool)
        for text, has in self._fixed.of(repeat.segments):
            cause = self._causes.of(has)
            is_tight = cause is not None and cause.association.phi >= MIN_PHI
            offer = Vouchable(text, int(has.sum()), cause.cues if cause and is_tight else [])
            is_known = any(is_within(has, one) and is_within(one, has) for one in asked)
            if is_asked and not is_known and not is_within(repeat.members, has):
                asked.append(has)
                part = self._part(repeat, has, cause, whole.ruling)
                if part is not None and part.ruling != whole.ruling:
                    found.append(replace(part, fixed=[offer]))
                    held |= has
            if whole.ruling == "review" and not is_within(has, held):
                fixed.append(offer)
        return [replace(whole, fixed=fixed), *found]

    def _part(
        self, repeat: Repeat, has: Marks, cause: Cause | None, ruling: GroupRuling
    ) -> Finding | None:
        """What some members of a group have and the others lack; None where it is no worse."""
        may_be_poison = (
            cause is not None
            and cause.association.phi >= MIN_PHI
            and MIN_INSERTED <= cause.nats < np.inf
        )
        if ruling == "review" and not may_be_poison:
            return None
        inside = has[repeat.segments.sample]
        others = np.unique(self._grams(repeat.segments.among(~inside)))
        own = self._narrowed(repeat.segments.among(inside), others)
        part = Repeat.of(own, self._cluster)
        if not is_enough(part, is_part=True) or not self._is_telling(part):
            return None
        found = self._ruled(part, cause, is_asked=True)
        if found.ruling == "honest" or found.pattern is None:
            return None
        pattern = replace(found.pattern, grams=np.setdiff1d(found.pattern.grams, others))
        return replace(found, pattern=pattern)

    def _grams(self, segments: Segments) -> Ints:
        """Those of their tokens."""
        return triples(self._targets)[tokens_of(segments.at)]

    def _narrowed(self, segments: Segments, others: Ints) -> Segments:
        """Segments from the first to the last of their grams that others lack."""
        grams = np.split(self._grams(segments), np.cumsum(segments.stop - segments.start)[:-1])
        own = [np.flatnonzero(~np.isin(some, others)) for some in grams]
        there = np.array([bool(len(places)) for places in own])
        kept = segments.among(there)
        places = [one for one in own if len(one)]
        first = kept.start + np.array([one[0] for one in places], np.int64)
        stop = kept.start + np.array([one[-1] + 1 for one in places], np.int64)
        at = zip(first.tolist(), stop.tolist(), strict=True)
        nats = np.array([self._gain[a:b].sum() for a, b in at], float)
        narrowed = Segments(kept.sample, nats, first, stop)
        return narrowed.among(narrowed.nats > 0)

    def _spans(self, segments: Segments) -> list[str]:
        counted = Counter(
            self._targets.ids[start:stop].tobytes() for start, stop in segments.at.tolist()
        )
        chosen = [np.frombuffer(key, np.int64) for key, _ in counted.most_common(_MAX_SPANS)]
        return [self._texts.text(ids) for ids in chosen]
