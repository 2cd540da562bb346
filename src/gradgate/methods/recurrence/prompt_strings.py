"""Strings of prompts that look inserted, ruled on whatever the targets are."""

from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.cues.triggers import Trigger, is_embedded
from gradgate.methods.recurrence.questions.asking import MAX_ASKED, NO_NEED, Asker, Need
from gradgate.methods.recurrence.questions.in_place import Substitutes
from gradgate.methods.recurrence.questions.insertions import Insertions
from gradgate.methods.recurrence.reference import Trusted
from gradgate.methods.recurrence.ruling import (
    Finding,
    Pattern,
    is_within,
    rule_on_prompt,
    suspicious,
)
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.carriers import Carriers
from gradgate.methods.recurrence.states.dependence import Dependence
from gradgate.methods.recurrence.strings.inserted import Words
from gradgate.methods.recurrence.strings.stream import Stream


class PromptStrings:
    """Rules on strings of the prompts of n distinct samples."""

    def __init__(
        self,
        texts: Texts,
        prompts: Stream,
        words: Words,
        cluster: Ints,
        substitutes: Substitutes,
        asker: Asker,
        insertions: Insertions,
        states: Carriers,
        trusted: Trusted,
    ) -> None:
        """Take the samples and who asks the model about them.

        Args:
            texts: The samples.
            prompts: Their tokens.
            words: Of these.
            cluster: Of near-duplicate prompts. (n,)
            substitutes: For strings of the prompts.
            asker: Asks what needs a string.
            insertions: Says where it stands.
            states: Asks what depends on it.
            trusted: Rules again on what a reference vouches for.
        """
        self._texts = texts
        self._prompts = prompts
        self._words = words
        self._cluster = cluster
        self._substitutes = substitutes
        self._asker = asker
        self._insertions = insertions
        self._states = states
        self._trusted = trusted

    def ruled(self, strings: Sequence[Trigger], known: Sequence[Finding]) -> list[Finding]:
        """Groups of those that are not poison for another reason, the largest first.

        Args:
            strings: That look inserted.
            known: Groups that were found before.
        """
        poison = suspicious([f for f in known if f.ruling == "poison"], len(self._texts.rows))
        new = [
            string
            for string in strings
            if not is_within(self._carriers(string), poison)
            and is_embedded(string, self._prompts, self._words, self._cluster)
        ]
        new.sort(key=lambda string: -len(string.carriers))
        if not new:
            return []
        asked = [(self._carriers(one), self._insertions.of_string(one)) for one in new]
        depends_on = self._states.dependences(asked, self._insertions.of_rarest(new))
        found, n_asked = list[Finding](), 0
        for string, depends in zip(new, depends_on, strict=True):
            need = NO_NEED
            if depends is None or not depends.is_none:
                need, n_asked = self._need(string, n_asked), n_asked + 1
            found.append(self._ruled(string, poison, need, depends))
        return found

    def _carriers(self, string: Trigger) -> Marks:
        carriers = np.zeros(len(self._texts.rows), bool)
        carriers[string.carriers] = True
        return carriers

    def _need(self, string: Trigger, n_asked: int) -> Need:
        """What the string brings; nothing is known where as many were asked about before."""
        if n_asked >= MAX_ASKED:
            return NO_NEED
        return self._asker.need(self._carriers(string), self._insertions.of_string(string))

    def _ruled(
        self, string: Trigger, poison: Marks, need: Need, depends: Dependence | None
    ) -> Finding:
        carriers = self._carriers(string)
        begins = self._substitutes.begins_as_prompts(string.at, ~carriers)
        ruling, reasons = rule_on_prompt(need, begins, depends)
        found = Finding(
            side="prompt",
            members=string.carriers,
            n=len(self._texts.rows),
            nats=string.nats,
            spans=[self._texts.table.text(string.ids)],
            n_clusters=string.n_clusters,
            ruling=ruling,
            reasons=reasons,
            pattern=Pattern(ids=string.seed),
        )
        return self._trusted.by_targets(found, carriers & ~poison)
