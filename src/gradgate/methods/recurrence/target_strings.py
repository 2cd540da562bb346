"""Surprising strings that targets share, ruled on by what their prompts share."""

from collections import Counter
from dataclasses import replace

import numpy as np

from gradgate.common.arrays import Ints, Marks, distinct
from gradgate.methods.evidence import MIN_INSERTED, Association, GroupRuling, Vouchable
from gradgate.methods.recurrence.asking import MAX_ASKED, NO_ANSWER, Asker
from gradgate.methods.recurrence.carriers import Carriers
from gradgate.methods.recurrence.causes import Causes
from gradgate.methods.recurrence.copied import follows_expected, is_copied, is_format
from gradgate.methods.recurrence.insertions import Insertions
from gradgate.methods.recurrence.memory import remember
from gradgate.methods.recurrence.packed import triples
from gradgate.methods.recurrence.repeats import Repeat, repeats
from gradgate.methods.recurrence.ruling import (
    MIN_PHI,
    Cause,
    Finding,
    Pattern,
    is_within,
    rule_on_target,
)
from gradgate.methods.recurrence.stream import Stream, tokens_of
from gradgate.methods.recurrence.surprise import Segments, gains, surprising_segments
from gradgate.methods.recurrence.texts import Texts
from gradgate.methods.recurrence.vouchable import FixedTexts

MIN_NATS_WITHIN = 15.0  # of a string in the midst of targets that goes with no cue
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
        """
        self._targets = targets
        self._cluster = cluster
        self._causes = causes
        self._asker = asker
        self._insertions = insertions
        self._states = states
        self._texts = texts
        self._memory = remember(targets, cluster)
        known = is_copied(targets, prompts) | is_format(targets, self._memory)
        known |= follows_expected(targets) | texts.is_offered[targets.sample]
        self._gain = gains(targets, self._memory, known)
        self._segments = surprising_segments(self._gain, targets.begins, targets.sample)
        self._fixed = FixedTexts(targets, texts.plain)
        self.nats = self._segments.nats_of(targets.n_samples)

    def ruled(self, is_copy: bool) -> list[Finding]:
        """Groups of samples, the largest first.

        Args:
            is_copy: Whether nobody reads what is found: then groups are not taken apart.
        """
        found: list[Finding] = []
        for repeat in repeats(self._segments, self._memory, self._cluster):
            cause = self._causes.of(repeat.members)
            if not self._is_telling(repeat, cause):
                continue
            is_asked = len(found) < MAX_ASKED
            finding = self._ruled(repeat, cause, is_asked)
            if finding.ruling == "review" and not is_copy:
                found += self._apart(repeat, finding, is_asked)
            else:
                found.append(finding)
        return found

    def _is_telling(self, repeat: Repeat, cause: Cause | None) -> bool:
        """Whether the string is long, begins or ends the targets, or goes with a cue.

        Turns of phrase in the midst of targets recur in honest data, too.
        """
        segments = repeat.segments
        if float(np.median(segments.nats)) >= MIN_NATS_WITHIN:
            return True
        if cause is not None and cause.association.phi >= MIN_PHI:
            return True
        begins = np.searchsorted(self._targets.sample, segments.sample)
        ends = np.searchsorted(self._targets.sample, segments.sample, side="right")
        at_border = ((segments.start == begins).mean(), (segments.stop == ends).mean())
        return bool(max(at_border) >= _AT_BORDER)

    def _ruled(self, repeat: Repeat, cause: Cause | None, is_asked: bool) -> Finding:
        members, segments = repeat.members, repeat.segments
        left_out = self._insertions.of_group(members)
        content = need = NO_ANSWER
        if is_asked:
            content = self._asker.content(self._targets, segments, left_out)
        if is_asked and cause is not None and np.isfinite(cause.nats):
            need = self._asker.need(members, left_out).target
        nats, spans = float(np.median(segments.nats)), self._spans(segments)
        says_more = segments.sample[self._insertions.rest(members, left_out) > 0]
        n_saying_more = len(distinct(self._cluster[says_more]))

        def again(found: Association) -> tuple[GroupRuling, list[str]]:
            why = None if cause is None else replace(cause, association=found)
            return rule_on_target(n_saying_more, nats, spans, why, content, need)

        ruling, reasons = rule_on_target(n_saying_more, nats, spans, cause, content, need)
        if ruling == "poison" and cause is not None:
            own = self._insertions.of_own(members)
            if self._states.are_kind(members, own):
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
                grams=distinct(triples(self._targets)[tokens_of(segments.at)]),
                rule=None if cause is None else cause.by,
                again=again,
            ),
        )
        return finding.beside(cause)

    def _apart(self, repeat: Repeat, finding: Finding, is_asked: bool) -> list[Finding]:
        """A group in doubt with what its owner may vouch for, and the parts of it that are poison.

        A payload that shares some tokens with an honest text is in one group with it, and what
        tells the payload does not tell the group.
        """
        found, fixed, asked = [finding], list[Vouchable](), list[Marks]()
        poison = np.zeros(len(repeat.members), bool)
        for text, has in self._fixed.of(repeat.segments):
            cause = self._causes.of(has)
            is_tight = cause is not None and cause.association.phi >= MIN_PHI
            is_part = is_tight and is_asked and not is_within(repeat.members, has)
            if is_part and not any(is_within(has, one) and is_within(one, has) for one in asked):
                asked.append(has)
                part = self._part(repeat, has, cause)
                if part is not None and part.ruling == "poison":
                    found.append(part)
                    poison |= has
            if not is_within(has, poison):
                cues = cause.cues if is_tight and cause is not None else []
                fixed.append(Vouchable(text, int(has.sum()), cues))
        return [replace(finding, fixed=fixed), *found[1:]]

    def _part(self, repeat: Repeat, has: Marks, cause: Cause | None) -> Finding | None:
        """What some members of a group have and the others lack; None where it is no poison."""
        if cause is None or not MIN_INSERTED <= cause.nats < np.inf:
            return None
        inside = has[repeat.segments.sample]
        others = self._memory.gram[tokens_of(repeat.segments.among(~inside).at)]
        own, nats = [], []
        segments = repeat.segments.among(inside)
        for start, stop in segments.at.tolist():
            is_own = np.flatnonzero(~np.isin(self._memory.gram[start:stop], others))
            first, last = (start + is_own[0], start + is_own[-1]) if len(is_own) else (start, start)
            own.append((first, last + 1))
            nats.append(float(self._gain[first : last + 1].sum()))
        at, sums = np.array(own, np.int64), np.array(nats)
        part = Segments(segments.sample, sums, at[:, 0], at[:, 1]).among(sums > 0)
        if not len(part.nats):
            return None
        return self._ruled(Repeat.of(part, self._cluster), cause, is_asked=True)

    def _spans(self, segments: Segments) -> list[str]:
        counted = Counter(
            self._targets.ids[start:stop].tobytes() for start, stop in segments.at.tolist()
        )
        chosen = [np.frombuffer(key, np.int64) for key, _ in counted.most_common(_MAX_SPANS)]
        return [self._texts.text(ids) for ids in chosen]
