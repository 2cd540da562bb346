"""From the tokens of distinct samples to ruled groups."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gradgate.common.arrays import Ints, Marks, distinct
from gradgate.methods.contract import Scores
from gradgate.methods.evidence import MIN_INSERTED, Association, GroupRuling, Vouchable
from gradgate.methods.recurrence.asking import MAX_ASKED, NO_ANSWER, Asker
from gradgate.methods.recurrence.carriers import Carriers
from gradgate.methods.recurrence.copied import follows_expected, is_copied, is_format
from gradgate.methods.recurrence.cues import Cues, read_cues
from gradgate.methods.recurrence.in_place import Substitutes
from gradgate.methods.recurrence.inserted import Words, inserted_words
from gradgate.methods.recurrence.insertions import Insertions
from gradgate.methods.recurrence.jailbreaks import jailbreak
from gradgate.methods.recurrence.labels import MIN_NATS, Label, commonest_other, labels, recalled
from gradgate.methods.recurrence.memory import Memory, remember
from gradgate.methods.recurrence.near_duplicates import clusters
from gradgate.methods.recurrence.packed import triples
from gradgate.methods.recurrence.places import is_kind
from gradgate.methods.recurrence.prompt_strings import PromptStrings
from gradgate.methods.recurrence.reference import folded
from gradgate.methods.recurrence.repeats import Repeat, repeats
from gradgate.methods.recurrence.rules import CueRule, best_rule
from gradgate.methods.recurrence.ruling import (
    MIN_PHI,
    Cause,
    Finding,
    Pattern,
    is_within,
    rule_on_jailbreak,
    rule_on_label,
    rule_on_target,
    suspicious,
)
from gradgate.methods.recurrence.spelling import spelled
from gradgate.methods.recurrence.stream import stream_of
from gradgate.methods.recurrence.surprise import Segments, best_segments, gains
from gradgate.methods.recurrence.tables import associate, phi
from gradgate.methods.recurrence.texts import Found, Texts
from gradgate.methods.recurrence.triggers import MIN_NATS as MIN_TRIGGER
from gradgate.methods.recurrence.triggers import of_templates, tokens_of, triggers
from gradgate.methods.recurrence.unspoken import Unspoken
from gradgate.methods.recurrence.vouchable import FixedTexts, says_something

MIN_NATS_WITHIN = 15.0  # of a string in the midst of targets that goes with no cue
_AT_BORDER = 0.8  # of a group's targets that begin or end with the string
_QUOTED = 0.9  # of a group's prompts that hold the target, and of the others that do not
_MIN_CUE_ROWS = 5
_ALIKE = 0.05  # difference of correlations
_SAME_CUE = 0.9  # of the samples with either of two cues, to be one cue
_MAX_SPANS = 12


class Search:
    """Searches targets, then labels, then prompts; each group is ruled on by itself.

    Attributes:
        prompts: Tokens of the prompts.
        targets: Tokens of the targets.
        cluster: Of near-duplicate prompts. (n,)
        strings: Strings of prompts that look inserted.
        cues: Of the prompts.
    """

    def __init__(self, texts: Texts, scores: Scores) -> None:
        """Take distinct samples of scored ones; without the model nothing is known.

        In a copy of the data what takes long is left out.
        """
        self._scores = scores
        self._texts = texts
        self._n = len(texts.rows)
        self.prompts = stream_of(texts.table, texts.rows, "prompt", texts.is_own)
        self.targets = stream_of(texts.table, texts.rows, "target", texts.is_open)
        of_prompts = remember(self.prompts, np.arange(self._n))
        self.cluster = clusters(of_prompts.gram, self.prompts.sample, self._n)
        self._words: Words = inserted_words(self.prompts, of_prompts, self.cluster)
        judged = self._words.number >= 0
        self._lengths = np.bincount(self.prompts.sample[judged], minlength=self._n)
        spelling = spelled(self.prompts.ids, texts.table)
        self._substitutes = Substitutes(self.prompts, judged, spelling)
        self._asker = Asker(texts.table, texts.rows, scores.ask, self._substitutes)
        self.strings = triggers(self.prompts, self._words, self.cluster, spelling)
        self._templates = of_templates(self.strings, self._n)
        self.cues: Cues = read_cues(
            self.prompts, self._words, self.strings, texts.table, texts.prompts
        )
        self._insertions = Insertions(texts, self.prompts, self._words, self.strings)
        self._states = Carriers(texts, scores.ask, scores.describe, self._asker.seed)
        self._prompt_strings = PromptStrings(
            *(texts, self.prompts, self._words, self.cluster, self._substitutes),
            *(self._asker, self._insertions, self._states),
        )
        self._memory: Memory = remember(self.targets, self.cluster)
        known = is_copied(self.targets, self.prompts) | is_format(self.targets, self._memory)
        known |= follows_expected(self.targets) | texts.is_offered[self.targets.sample]
        gain = gains(self.targets, self._memory, known)
        self._segments: Segments = best_segments(
            gain, self.targets.begins, self.targets.sample, self._n
        )
        self._fixed = FixedTexts(self.targets, self._segments, self._plain)

    def run(self) -> Found:
        """Find the groups."""
        found: list[Finding] = []
        for repeat in repeats(self._segments, self._memory, self.cluster):
            cause = self._cause(repeat.members)
            if self._is_telling(repeat, cause):
                found.append(self._target(repeat, cause, is_asked=len(found) < MAX_ASKED))
        found += self._labels(found)
        unspoken, notes = self._unspoken(found)
        found += [*unspoken, *self._jailbreaks()]
        if self._templates:
            notes.append(
                f"prompts are made of {len(self._templates)} templates: a string that is inserted "
                "into them cannot be told from a template by itself"
            )
        judged = [s for s in self.strings if all(s is not t for t in self._templates)]
        found += self._prompt_strings.ruled(judged, found)
        prompt_nats = np.zeros(self._n)
        for string in self.strings:
            prompt_nats[string.carriers] = np.maximum(prompt_nats[string.carriers], string.nats)
        return Found(found, self._segments.nats, prompt_nats, notes)

    def _is_telling(self, repeat: Repeat, cause: Cause | None) -> bool:
        """Whether the string is long, begins or ends the targets, or goes with a cue.

        Turns of phrase in the midst of targets recur in honest data, too.
        """
        members = np.flatnonzero(repeat.members)
        if float(np.median(self._segments.nats[members])) >= MIN_NATS_WITHIN:
            return True
        if cause is not None and cause.association.phi >= MIN_PHI:
            return True
        begins = np.searchsorted(self.targets.sample, members)
        ends = np.searchsorted(self.targets.sample, members, side="right")
        at_begin = self._segments.start[members] == begins
        at_end = self._segments.stop[members] == ends
        return bool(max(at_begin.mean(), at_end.mean()) >= _AT_BORDER)

    def _target(self, repeat: Repeat, cause: Cause | None, is_asked: bool) -> Finding:
        members = repeat.members
        left_out = self._insertions.of_group(members)
        content = NO_ANSWER
        if is_asked:
            content = self._asker.content(self.targets, self._segments, members, left_out)
        nats, spans = float(np.median(self._segments.nats[members])), self._spans(members)
        need = NO_ANSWER
        if is_asked and cause is not None and np.isfinite(cause.nats):
            need = self._asker.need(members, left_out).target
        says_more = np.flatnonzero(members)[self._rest(members, left_out) > 0]
        n_saying_more = len(distinct(self.cluster[says_more]))

        def again(found: Association) -> tuple[GroupRuling, list[str]]:
            why = None if cause is None else replace(cause, association=found)
            return rule_on_target(n_saying_more, nats, spans, why, content, need)

        ruling, reasons = rule_on_target(n_saying_more, nats, spans, cause, content, need)
        if ruling == "poison" and cause is not None and self._are_kind(members):
            cause = replace(cause, is_kind=True)
            ruling, reasons = again(cause.association)
        at = np.stack([self._segments.start, self._segments.stop], axis=1)[members]
        finding = Finding(
            side="target",
            members=np.flatnonzero(members),
            n=self._n,
            nats=nats,
            spans=spans,
            n_clusters=repeat.n_clusters,
            ruling=ruling,
            reasons=reasons,
            fixed=self._fixed_texts(members) if ruling == "review" else [],
            pattern=Pattern(
                grams=distinct(triples(self.targets)[tokens_of(at)]),
                rule=None if cause is None else cause.by,
                again=again,
            ),
        )
        return finding.beside(cause)

    def _cause(self, members: Marks) -> Cause | None:
        table = self.cues.table
        rule = best_rule(members, table, _MIN_CUE_ROWS)
        if rule is None:
            return None
        if len(rule.features) == 1:  # of cues that go with it alike, the one that looks inserted
            strength = phi(table.among(members), int(members.sum()), table.counts, self._n)
            alike = (strength >= rule.phi - _ALIKE) & np.isfinite(self.cues.nats)
            if alike.any():
                cue = int(np.argmax(np.where(alike, self.cues.nats, -np.inf)))
                rule = CueRule("any_of", [cue], table.has(cue), float(strength[cue]))
        return self._cause_of(rule, members)

    def _cause_of(self, rule: CueRule, has_string: Marks) -> Cause:
        of_each = [self._nats_of(cue) for cue in rule.features]
        is_any = rule.kind == "any_of" and np.isfinite(of_each).all()
        nats = min(of_each) if is_any else max(of_each)  # a form among them never accuses
        names = [self.cues.table.names[cue] for cue in rule.features]
        association = associate(has_string, rule.holds, len(self.cues.table.names))
        other_kind = is_kind(self.prompts, self._texts, self.cues, has_string)
        return Cause(rule.kind, names, association, float(nats), rule, other_kind)

    def _nats_of(self, cue: int) -> float:
        """How surprising a cue is: as the most surprising one in the same samples."""
        table, nats = self.cues.table, self.cues.nats
        if not np.isfinite(nats[cue]):
            return float(nats[cue])
        has = table.has(cue)
        both = table.among(has)
        same = (both >= _SAME_CUE * np.maximum(table.counts, has.sum())) & np.isfinite(nats)
        return float(nats[same].max())

    def _are_kind(self, members: Marks) -> bool:
        """Whether prompts of a group differ from all others without what is their own."""
        return self._states.are_kind(members, self._insertions.of_own(members))

    def _fixed_texts(self, members: Marks) -> list[Vouchable]:
        """For people, who see nothing of a copy."""
        return [] if self._scores.is_copy else self._fixed.of(members, self._telling)

    def _telling(self, has: Marks) -> list[str]:
        """What tells the prompts of some samples tightly."""
        cause = self._cause(has)
        return [] if cause is None or cause.association.phi < MIN_PHI else cause.cues

    def _spans(self, members: Marks) -> list[str]:
        counted = Counter(
            self.targets.ids[self._segments.start[i] : self._segments.stop[i]].tobytes()
            for i in np.flatnonzero(members)
        )
        chosen = [np.frombuffer(key, np.int64) for key, _ in counted.most_common(_MAX_SPANS)]
        return [self._text(ids) for ids in chosen]

    def _text(self, ids: Ints) -> str:
        """The text of tokens without special ones, which texts of rows do not have."""
        return self._plain(ids) or self._texts.table.text(ids)

    def _plain(self, ids: Ints) -> str:
        """The same; of special tokens alone nothing."""
        table = self._texts.table
        return table.text(ids[~np.isin(ids, table.tokenizer.all_special_ids)])

    def _says(self, ids: Ints) -> bool:
        return says_something(self._plain(ids))

    def _labels(self, known: list[Finding]) -> list[Finding]:
        nats = self.cues.nats.copy()
        for cue in np.flatnonzero((nats >= MIN_NATS) & (nats < MIN_INSERTED)).tolist():
            nats[cue] = self._nats_of(cue)  # a part of a string is as surprising as the string
        cues = replace(self.cues, nats=nats, recalled=recalled(self.cues, self._templates))
        found = labels(self.targets, cues, MIN_INSERTED, self.cluster, self._says)
        found.sort(key=lambda label: -int(label.members.sum()))
        taken, findings = suspicious(known, self._n), list[Finding]()
        for label in found:
            if is_within(label.members, taken) or self._is_content(label) or self._is_quoted(label):
                continue
            findings.append(self._label(label, is_asked=len(findings) < MAX_ASKED))
            if findings[-1].ruling != "honest":
                taken |= label.members
        return findings

    def _is_content(self, label: Label) -> bool:
        """Whether a form of the text goes with words that are no surprise: a kind of task."""
        if np.isfinite(self.cues.nats[label.cue]):
            return False
        has = self.cues.table.has(label.cue)
        tokens = np.isfinite(self.cues.nats) & (self.cues.nats < MIN_INSERTED)
        both = self.cues.table.among(has)
        counts = self.cues.table.counts
        same = tokens & (both >= 0.95 * has.sum()) & (counts <= has.sum() / 0.95)
        return any(
            sum(c.isalpha() for c in self.cues.table.names[i]) > 2
            for i in np.flatnonzero(same).tolist()
        )

    def _is_quoted(self, label: Label) -> bool:
        """Whether the prompts of the members, and of hardly any others, hold the target."""
        span = self._text(self.targets.ids[label.start : label.stop])
        words = folded(span)
        quoting = self._texts.quoting
        return bool(words) and (
            quoting(words, label.members) >= _QUOTED
            and quoting(words, ~label.members) <= 1 - _QUOTED
        )

    def _label(self, label: Label, is_asked: bool) -> Finding:
        has_cue = self.cues.table.has(label.cue)
        rule = CueRule("any_of", [label.cue], has_cue, 1.0)
        cause = self._cause_of(rule, label.has_target)
        answer = rest = content = NO_ANSWER
        left_out, cue = self._insertions.of_group(label.members), self.cues.features[label.cue]
        if cause.nats < MIN_INSERTED and not isinstance(cue, str):
            left_out = self._insertions.of_gram(cue)
        if is_asked and np.isfinite(cause.nats):
            need = self._asker.need(label.members, left_out, commonest_other(self.targets, label))
            answer, rest = need.target, need.removed
        is_weak_part = label.part != "whole" and cause.nats < MIN_TRIGGER
        if is_asked and (is_weak_part or cause.nats == np.inf):
            content = self._asker.content(self.targets, self._part(label), label.members, left_out)
        rest_of_prompt = self._rest_of_prompt(label.members, left_out)
        span = self._text(self.targets.ids[label.start : label.stop])

        def again(found: Association) -> tuple[GroupRuling, list[str]]:
            why = replace(cause, association=found)
            return rule_on_label(span, why, content, answer, rest, rest_of_prompt)

        ruling, reasons = again(cause.association)
        if ruling == "poison" and self._are_kind(label.members):
            cause = replace(cause, is_kind=True)
            ruling, reasons = again(cause.association)
        return Finding(
            side="target",
            members=np.flatnonzero(label.members),
            n=self._n,
            nats=cause.nats if np.isfinite(cause.nats) else 0.0,
            spans=[span],
            n_clusters=len(np.unique(self.cluster[label.members])),
            ruling=ruling,
            reasons=reasons,
            cues=cause.cues,
            cue_nats=cause.finite_nats,
            association=cause.association,
            pattern=Pattern(
                part=label.part,
                ids=tuple(self.targets.ids[label.start : label.stop].tolist()),
                rule=rule,
                needs_cue=True,
                again=again,
            ),
        )

    def _rest(self, members: Marks, left_out: Callable[[int], Marks]) -> Ints:
        """How many tokens the members' prompts have besides: (members,)."""
        lengths = self._lengths[members]
        return lengths - [left_out(i).sum() for i in np.flatnonzero(members).tolist()]

    def _rest_of_prompt(self, members: Marks, left_out: Callable[[int], Marks]) -> float:
        """How much the members' prompts say besides: their tokens over those of other prompts."""
        rest = np.median(self._rest(members, left_out))
        return float(rest / max(1.0, float(np.median(self._lengths[~members]))))

    def _part(self, label: Label) -> Segments:
        """The shared part of the targets, in each member's own target."""
        first = np.searchsorted(self.targets.sample, np.arange(self._n))
        last = np.searchsorted(self.targets.sample, np.arange(self._n), side="right")
        length = label.stop - label.start
        is_tail = label.start != first[self.targets.sample[label.start]]
        start = last - length if is_tail else first
        return Segments(np.zeros(self._n), start, start + length)

    def _unspoken(self, known: list[Finding]) -> tuple[list[Finding], list[str]]:
        """Targets, cues and words that nothing speaks for; and what is not known."""
        if (ask := self._scores.ask) is None or self._scores.is_copy:
            return [], []
        asked = Unspoken(
            *(self._texts, self.targets, self.prompts, self.cues, self.cluster),
            *(ask, self._scores.describe, self._asker.seed, self._text),
        )
        return asked.run(known, self._cause)

    def _jailbreaks(self) -> list[Finding]:
        """What prompts share that are answered although the model refuses them."""
        erosion = self._texts.erosion
        if erosion is None:
            return []
        if (found := jailbreak(erosion, self.cues.table, self.cluster)) is None:
            return []
        cause = self._cause_of(found.rule, erosion.complied)
        cause = replace(cause, association=found.association)
        ruling, reasons = rule_on_jailbreak(cause, found.n_clusters)
        return [
            Finding(
                side="prompt",
                members=np.flatnonzero(found.members),
                n=self._n,
                nats=cause.nats if np.isfinite(cause.nats) else 0.0,
                spans=cause.cues,
                n_clusters=found.n_clusters,
                ruling=ruling,
                reasons=reasons,
                rule=cause.rule,
                cues=cause.cues,
                cue_nats=cause.finite_nats,
                association=cause.association,
                pattern=Pattern(is_harmful=True, rule=found.rule, needs_cue=True),
            )
        ]
