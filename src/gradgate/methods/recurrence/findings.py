"""From the tokens of distinct samples to ruled groups."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import Scores
from gradgate.methods.evidence import MIN_INSERTED, Association, GroupRuling
from gradgate.methods.recurrence.causes import Causes
from gradgate.methods.recurrence.cues.candidates import Cues, read_cues
from gradgate.methods.recurrence.cues.jailbreaks import jailbreak
from gradgate.methods.recurrence.cues.labels import (
    MIN_NATS,
    Label,
    Part,
    commonest_other,
    labels,
    recalled,
)
from gradgate.methods.recurrence.cues.quoted_labels import is_quoted
from gradgate.methods.recurrence.cues.rules import CueRule
from gradgate.methods.recurrence.cues.templates import of_frames, of_templates
from gradgate.methods.recurrence.cues.triggers import MIN_NATS as MIN_TRIGGER
from gradgate.methods.recurrence.cues.triggers import Trigger, triggers
from gradgate.methods.recurrence.prompt_strings import PromptStrings
from gradgate.methods.recurrence.questions.asking import MAX_ASKED, NO_ANSWER, Asker
from gradgate.methods.recurrence.questions.described import Described
from gradgate.methods.recurrence.questions.in_place import Substitutes
from gradgate.methods.recurrence.questions.insertions import Insertions
from gradgate.methods.recurrence.questions.spelling import spelled
from gradgate.methods.recurrence.reference import Reference, Trusted
from gradgate.methods.recurrence.ruling import (
    Finding,
    Found,
    Pattern,
    is_within,
    rule_on_jailbreak,
    rule_on_label,
)
from gradgate.methods.recurrence.samples.near_duplicates import clusters
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.beside import Beside
from gradgate.methods.recurrence.states.carriers import Carriers
from gradgate.methods.recurrence.strings.inserted import Words, inserted_words
from gradgate.methods.recurrence.strings.memory import remember
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.stream import stream_of
from gradgate.methods.recurrence.strings.surprise import Segments
from gradgate.methods.recurrence.strings.vouchable import says_something
from gradgate.methods.recurrence.target_strings import TargetStrings
from gradgate.methods.recurrence.unspoken.groups import Unspoken


class Search:
    """Searches targets, then labels, then prompts; each group is ruled on by itself.

    Attributes:
        prompts: Tokens of the prompts.
        targets: Tokens of the targets.
        cluster: Of near-duplicate prompts. (n,)
        strings: Strings of prompts that look inserted.
        cues: Of the prompts.
        trusted: Rules again on what a reference vouches for.
    """

    def __init__(self, texts: Texts, scores: Scores, known: Reference | None = None) -> None:
        """Take distinct samples of scored ones; without the model nothing is known.

        In a copy of the data what takes long is left out.

        Args:
            texts: The samples.
            scores: Whoever asks the model.
            known: Samples that somebody vouches for.
        """
        describe = scores.describe and Described(scores.describe)
        self._scores = scores = replace(scores, describe=describe)
        self._texts = texts
        self._n = len(texts.rows)
        self.prompts = stream_of(texts.table, texts.rows, "prompt", texts.is_own)
        self.targets = stream_of(texts.table, texts.rows, "target", texts.is_open)
        of_prompts = remember(self.prompts, np.arange(self._n))
        self.cluster = clusters(of_prompts.gram, self.prompts.sample, self._n)
        self._words: Words = inserted_words(self.prompts, of_prompts, self.cluster)
        spelling = spelled(self.prompts.ids, texts.table)
        self._substitutes = Substitutes(self.prompts, self._words.number >= 0, spelling)
        self._asker = Asker(texts.table, texts.rows, scores.ask, self._substitutes)
        self.strings = triggers(self.prompts, self._words, self.cluster, spelling)
        self._insertions = Insertions(texts, self.prompts, self._words, self.strings)
        self._states = Carriers(texts, scores.ask, scores.describe, self._asker.seed)
        special = texts.table.tokenizer.all_special_ids
        self._templates = of_templates(self.strings, self.prompts, special, self._is_kind)
        self._framed = of_frames(self.strings, self.prompts, special)
        self.cues: Cues = read_cues(
            *(self.prompts, self._words, [one for one in self.strings if not one.is_within]),
            *(texts.table, texts.prompts),
        )
        self._causes = Causes(texts, self.prompts, self.cues)
        self.trusted = self._trusting(known)
        self._prompt_strings = PromptStrings(
            *(texts, self.prompts, self._words, self.cluster, self._substitutes),
            *(self._asker, self._insertions, self._states, self.trusted),
        )
        self._target_strings = TargetStrings(
            *(texts, self.prompts, self.targets, self.cluster, self._causes),
            *(self._asker, self._insertions, self._states, known),
        )

    def _is_kind(self, string: Trigger) -> bool:
        carriers = np.isin(np.arange(self._n), string.carriers)
        return self._states.are_kind(carriers, self._insertions.of_own(carriers))

    def _beside(self, cue: int, values: Floats) -> Beside | None:
        """How samples with a cue are beside others without it, see `Carriers`.

        Of a form of the text only the tokens are left out that mostly its samples have.
        """
        has, gram = self.cues.table.has(cue), self.cues.features[cue]
        own = self._insertions.of_own(has)
        if isinstance(gram, str):
            return self._states.beside(has, own, values)
        of_cue = self._insertions.of_gram(gram)
        return self._states.beside(has, lambda i: own(i) | of_cue(i), values)

    def _trusting(self, known: Reference | None) -> Trusted:
        if known is None:
            return Trusted()
        there = Carriers(known.texts, self._scores.ask, self._scores.describe, self._asker.seed)
        return Trusted(known, self.cues.features, self._states, there, self._asker.seed)

    def run(self) -> Found:
        """Find the groups."""
        found = self._target_strings.ruled(self._scores.is_copy)
        found += self._labels(found)
        unspoken, notes = self._unspoken(found)
        found += [*unspoken, *self._jailbreaks()]
        if self._templates:
            notes.append(
                f"prompts are made of {len(self._templates)} templates: a string that is inserted "
                "into them cannot be told from a template by itself"
            )
        if self._framed:
            notes.append(
                f"{len(self._framed)} strings of prompts are templates with one heading: one that "
                "takes the place of another cannot be told from it by itself"
            )
        excused = {id(one) for one in (*self._templates, *self._framed)}
        judged = [one for one in self.strings if id(one) not in excused]
        found += self._prompt_strings.ruled(judged, found)
        prompt_nats = np.zeros(self._n)
        for string in self.strings:
            prompt_nats[string.carriers] = np.maximum(prompt_nats[string.carriers], string.nats)
        return Found(found, self._target_strings.nats, prompt_nats, notes)

    def _says(self, ids: Ints) -> bool:
        return says_something(self._texts.plain(ids))

    def _labels(self, known: list[Finding]) -> list[Finding]:
        nats = self.cues.nats.copy()
        for cue in np.flatnonzero((nats >= MIN_NATS) & (nats < MIN_INSERTED)).tolist():
            # A part of a string is as surprising as the string.
            nats[cue] = self._causes.nats_of(cue)
        cues = replace(self.cues, nats=nats, recalled=recalled(self.cues, self._templates))
        found = labels(self.targets, cues, MIN_INSERTED, self.cluster, self._says)
        found.sort(key=lambda label: -int(label.members.sum()))
        taken, findings = self.trusted.suspicious(known, self._n), list[Finding]()
        vouched = defaultdict[tuple[Part, Gram], Marks](lambda: np.zeros(self._n, bool))
        for label in found:
            ids = tuple(self.targets.ids[label.start : label.stop].tolist())
            if not (label.members & ~vouched[label.part, ids]).any():
                continue  # another cue of trusted rows tells it already
            if (
                is_within(label.members, taken)
                or self._is_content(label)
                or is_quoted(label, self.targets, self._texts)
            ):
                continue
            finding = self._label(label, is_asked=len(findings) < MAX_ASKED)
            findings.append(finding)
            if self.trusted.against(finding).ruling != "honest":
                taken |= label.members
            elif finding.ruling != "honest":
                vouched[label.part, ids] |= label.members
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

    def _label(self, label: Label, is_asked: bool) -> Finding:
        has_cue = self.cues.table.has(label.cue)
        rule = CueRule("any_of", [label.cue], has_cue, 1.0)
        cause = self._causes.of_rule(rule, label.has_target)
        answer = rest = content = NO_ANSWER
        left_out, cue = self._insertions.of_group(label.members), self.cues.features[label.cue]
        if cause.nats < MIN_INSERTED and not isinstance(cue, str):
            left_out = self._insertions.of_gram(cue)
        if is_asked and np.isfinite(cause.nats):
            need = self._asker.need(label.members, left_out, commonest_other(self.targets, label))
            answer, rest = need.target, need.removed
        is_weak_part = label.part != "whole" and cause.nats < MIN_TRIGGER
        if is_asked and (is_weak_part or cause.nats == np.inf):
            content = self._asker.content(self.targets, self._part(label), left_out).whole
        rest_of_prompt = self._insertions.rest_of_prompt(label.members, left_out)
        span = self._texts.text(self.targets.ids[label.start : label.stop])

        def again(found: Association) -> tuple[GroupRuling, list[str]]:
            why = replace(cause, association=found)
            return rule_on_label(span, why, content, answer, rest, rest_of_prompt)

        ruling, reasons = again(cause.association)
        own = self._insertions.of_own(label.members)
        if ruling == "poison" and self._states.are_kind(label.members, own):
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

    def _part(self, label: Label) -> Segments:
        """The shared part of the targets, in each member's own target."""
        members = np.flatnonzero(label.members)
        first = np.searchsorted(self.targets.sample, members)
        last = np.searchsorted(self.targets.sample, members, side="right")
        length = label.stop - label.start
        is_tail = label.start not in first
        start = last - length if is_tail else first
        return Segments(members, np.zeros(len(members)), start, start + length)

    def _unspoken(self, known: list[Finding]) -> tuple[list[Finding], list[str]]:
        """Targets, cues and words that nothing speaks for; and what is not known."""
        if (ask := self._scores.ask) is None or self._scores.is_copy:
            return [], []
        asked = Unspoken(
            *(self._texts, self.targets, self.prompts, self.cues, self.cluster),
            *(ask, self._scores.describe, self._beside, self._asker.seed),
            *(self._texts.text, self.trusted),
        )
        return asked.run(known, self._causes.of)

    def _jailbreaks(self) -> list[Finding]:
        """What prompts share that are answered although the model refuses them."""
        erosion = self._texts.erosion
        if erosion is None:
            return []
        if (found := jailbreak(erosion, self.cues.table, self.cluster)) is None:
            return []
        cause = self._causes.of_rule(found.rule, erosion.complied)
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
