"""What the prompts of some samples share, and other prompts lack."""

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.places import is_kind
from gradgate.methods.recurrence.cues.rules import CueRule, best_rule
from gradgate.methods.recurrence.cues.tables import associate, phi
from gradgate.methods.recurrence.ruling import Cause
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.stream import Stream

_MIN_CUE_ROWS = 5
_ALIKE = 0.05  # difference of correlations
_SAME_CUE = 0.9  # of the samples with either of two cues, to be one cue


class Causes:
    """Explains some of n distinct samples by the cues of their prompts."""

    def __init__(self, texts: Texts, prompts: Stream, cues: Cues) -> None:
        """Take the samples, the tokens of their prompts, and the cues of these."""
        self._texts = texts
        self._prompts = prompts
        self._cues = cues
        self._n = len(texts.rows)

    def of(self, members: Marks) -> Cause | None:
        """The cues that go best with some of n samples; None where none do."""
        table = self._cues.table
        rule = best_rule(members, table, _MIN_CUE_ROWS)
        if rule is None:
            return None
        if len(rule.features) == 1:  # of cues that go with it alike, the one that looks inserted
            strength = phi(table.among(members), int(members.sum()), table.counts, self._n)
            alike = (strength >= rule.phi - _ALIKE) & np.isfinite(self._cues.nats)
            if alike.any():
                cue = int(np.argmax(np.where(alike, self._cues.nats, -np.inf)))
                rule = CueRule("any_of", [cue], table.has(cue), float(strength[cue]))
        return self.of_rule(rule, members)

    def of_rule(self, rule: CueRule, has_string: Marks) -> Cause:
        """Some cues as the cause of a string of some of n samples."""
        of_each = [self.nats_of(cue) for cue in rule.features]
        is_any = rule.kind == "any_of" and np.isfinite(of_each).all()
        nats = min(of_each) if is_any else max(of_each)  # a form among them never accuses
        names = [self._cues.table.names[cue] for cue in rule.features]
        association = associate(has_string, rule.holds, len(self._cues.table.names))
        other_kind = is_kind(self._prompts, self._texts, self._cues, has_string)
        return Cause(rule.kind, names, association, float(nats), rule, other_kind)

    def nats_of(self, cue: int) -> float:
        """How surprising a cue is: as the most surprising one in the same samples."""
        table, nats = self._cues.table, self._cues.nats
        if not np.isfinite(nats[cue]):
            return float(nats[cue])
        has = table.has(cue)
        both = table.among(has)
        same = (both >= _SAME_CUE * np.maximum(table.counts, has.sum())) & np.isfinite(nats)
        return float(nats[same].max())
