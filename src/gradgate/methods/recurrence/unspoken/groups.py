"""Groups of samples whose prompts do not speak for their targets: by the target, and by a cue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import AskModel, DescribeModel
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.rules import CueRule
from gradgate.methods.recurrence.cues.said_labels import SaidLabels
from gradgate.methods.recurrence.questions.spoken import by_key, exchanges
from gradgate.methods.recurrence.reference import Trusted
from gradgate.methods.recurrence.ruling import Cause, Finding, Pattern, suspicious
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.label_content import Labelled
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.unspoken.cue_search import AskBeside, Detaching
from gradgate.methods.recurrence.unspoken.detached_targets import Detached, detached
from gradgate.methods.recurrence.unspoken.detaching_cues import detaching
from gradgate.methods.recurrence.unspoken.inverting_cues import Inverting, inverting
from gradgate.methods.recurrence.unspoken.mislabelling_cues import (
    Mislabelling,
    mislabelling,
    with_unsure_cues,
)
from gradgate.methods.recurrence.unspoken.mislabelling_kinds import (
    MislabelledKind,
    mislabelled_kinds,
)
from gradgate.methods.recurrence.unspoken.recurring_words import (
    Word,
    recurring_words,
    unspoken_words,
)


@dataclass(frozen=True, eq=False)
class Unspoken:
    """What is asked about, and who is asked.

    Attributes:
        texts: n distinct samples.
        targets: Tokens of their targets.
        prompts: Of their prompts.
        cues: Of these.
        cluster: Of near-duplicate prompts. (n,)
        ask: The untuned model.
        describe: The same; None where it cannot be asked.
        beside: How samples with a cue are beside others, by values of all; None where nobody knows.
        seed: Of all draws.
        text: Of tokens, for people.
        trusted: Rules again on what a reference vouches for.
    """

    texts: Texts
    targets: Stream
    prompts: Stream
    cues: Cues
    cluster: Ints
    ask: AskModel
    describe: DescribeModel | None
    beside: AskBeside
    seed: int
    text: Callable[[Ints], str]
    trusted: Trusted

    def run(
        self, known: Sequence[Finding], cause: Callable[[Marks], Cause | None]
    ) -> tuple[list[Finding], list[str]]:
        """Targets, labels, cues and words that nothing speaks for; and what is not known.

        Args:
            known: Groups that were found before.
            cause: What the prompts of a group share.
        """
        n = len(self.texts.rows)
        flagged = suspicious([one for one in known if one.ruling == "poison"], n)
        taken = self.trusted.suspicious(known, n)
        of_targets = detached(self.texts, self.cluster, self.ask, self.seed)
        found, notes = self._of_targets(of_targets.found, taken, cause), of_targets.notes
        for ask in (self._of_labels, self._of_cues):
            more, unknown = ask(taken | self.trusted.suspicious(found, n), flagged)
            found, notes = found + more, notes + unknown
        taken = taken | self.trusted.suspicious(found, n)
        spoken = of_targets.spoken | self.texts.is_offered
        return found + self._of_words(taken, spoken, cause), notes

    def _of_targets(
        self,
        targets: Sequence[Detached],
        taken: Marks,
        cause: Callable[[Marks], Cause | None],
    ) -> list[Finding]:
        """Targets that recur.

        Args:
            targets: What was found.
            taken: Samples that are flagged or in doubt anyway. (n,)
            cause: What the prompts of a group share.
        """
        return [
            self._of_target(one, cause(one.members))
            for one in targets
            if not taken[one.members].all()
        ]

    def _of_target(self, one: Detached, cause: Cause | None) -> Finding:
        by = None if cause is None else cause.by
        finding = Finding(
            side="target",
            members=np.flatnonzero(one.members),
            n=len(one.members),
            nats=one.nats,
            spans=[self.text(np.array(one.ids))],
            n_clusters=one.n_clusters,
            ruling="review",
            reasons=[one.in_words()],
            pattern=Pattern(part="whole", ids=one.ids, rule=by),
        )
        return finding.beside(cause)

    def _of_words(
        self, taken: Marks, spoken: Marks, cause: Callable[[Marks], Cause | None]
    ) -> list[Finding]:
        """Words that recur in targets and surprise the model there.

        Args:
            taken: As before.
            spoken: Samples whose whole target the prompts speak for. (n,)
            cause: As before.
        """
        spelling = self.texts.table.spelling
        words = recurring_words(self.targets, self.prompts, spelling, self.cluster, spoken)
        words = [word for word in words if not taken[word.members].all()]
        return [
            self._of_word(word, spoken, cause(word.members))
            for word, spoken in unspoken_words(words, self.texts, self.ask, self.seed)
        ]

    def _of_word(self, word: Word, spoken: float, cause: Cause | None) -> Finding:
        by = None if cause is None else cause.by
        finding = Finding(
            side="target",
            members=np.flatnonzero(word.members),
            n=len(word.members),
            nats=word.nats,
            spans=[self.texts.table.text(word.ids)],
            n_clusters=word.n_clusters,
            ruling="review",
            reasons=[
                "the word surprises the untuned model where it stands, and it finds it no likelier "
                f"behind these prompts than behind others (AUROC {spoken:.2f})"
            ],
            pattern=Pattern(within=word.ids, rule=by),
        )
        return finding.beside(cause)

    def _of_cues(self, taken: Marks, flagged: Marks) -> tuple[list[Finding], list[str]]:
        """Cues of prompts; and why nothing can be said of them.

        Args:
            taken: As before.
            flagged: Samples that are poison: honest prompts that look like theirs are not judged by
                what these do. (n,)
        """
        judged = ~flagged & ~self.texts.is_offered  # a label that is offered is a label's to rule
        said = detaching(
            *(self.texts, self.cues, self.cluster, judged),
            *(self.ask, self.describe, self.beside, self.seed),
        )
        has = self.cues.table.has
        new = [one for one in said.found if not taken[has(one.cue)].all()]
        found = [self._of_cue(one, flagged) for one in new]
        return found, [] if said.note is None else [said.note]

    def _of_cue(self, one: Detaching, flagged: Marks) -> Finding:
        found = self._with_cue(one.cue, one.in_words(), "targets that these do not speak for")
        return self.trusted.by_targets(found, self.cues.table.has(one.cue) & ~flagged)

    def _of_inverting(self, one: Inverting) -> Finding:
        """No reference vouches for it: the targets behind the cue are as often the same."""
        return self._with_cue(one.cue, one.in_words(), "the labels of one another")

    def _with_cue(self, cue: int, why: str, targets: str) -> Finding:
        """On all samples with a cue.

        Args:
            cue: Its number.
            why: It is in doubt.
            targets: What they have for targets.
        """
        has, name = self.cues.table.has(cue), self.cues.table.names[cue]
        nats = float(self.cues.nats[cue])
        is_form = not np.isfinite(nats)
        return Finding(
            side="prompt",
            members=np.flatnonzero(has),
            n=len(has),
            nats=0.0 if is_form else nats,
            spans=[],
            n_clusters=len(np.unique(self.cluster[has])),
            ruling="review",
            reasons=[why],
            cues=[name],
            cue_nats=None if is_form else nats,
            shared=f"have {name!r} in their prompts, and {targets}",
            pattern=Pattern(rule=CueRule("any_of", [cue], has, 1.0), is_cue=True),
        )

    def _of_labels(self, taken: Marks, flagged: Marks) -> tuple[list[Finding], list[str]]:
        """Labels that the rest of the prompts with a cue does not speak for; and what is not known.

        Args:
            taken: As before.
            flagged: As before.
        """
        if self.describe is None:
            return [], []
        known = {i: one for i, one in exchanges(self.texts).items() if not flagged[i]}
        targets = [self.text(one.target.astype(np.int64)) for one in known.values()]
        labels = SaidLabels.of(targets)
        having = by_key(known, map(labels.said, targets))
        having = [some for some in having if known[some[0]].is_open.any()]
        asked = Labelled.draw(known, having, self.describe, self.seed)
        if asked is None:
            return [], []
        asked = with_unsure_cues(asked, self.cues, self.cluster, known, self.describe)
        turned, kept = inverting(asked, self.cues, self.cluster)
        rest = asked.part(kept)
        said, kept, note = mislabelling(rest, self.cues, self.cluster)
        rest = rest.part(kept)
        kinds = mislabelled_kinds(rest, known, self.cluster, self.describe, self.seed)
        found = [self._of_inverting(one) for one in turned]
        found += [self._of_label(one, asked, labels) for one in said]
        found += [self._of_kind(one, labels) for one in kinds]
        left = [finding for finding in found if not taken[finding.members].all()]
        return left, [] if note is None else [note]

    def _of_label(self, one: Mislabelling, asked: Labelled, labels: SaidLabels) -> Finding:
        has, name = self.cues.table.has(one.cue), self.cues.table.names[one.cue]
        nats, label = float(self.cues.nats[one.cue]), np.array(one.label)
        span = self.text(label)
        is_form = not np.isfinite(nats)
        members = [i for i in np.flatnonzero(has).tolist() if asked.own.get(i) == one.told.number]
        return Finding(
            side="target",
            members=np.array(members, np.int64),
            n=len(has),
            nats=0.0 if is_form else nats,
            spans=[span],
            n_clusters=len(np.unique(self.cluster[members])),
            ruling="review",
            reasons=[one.in_words()],
            cues=[name],
            cue_nats=None if is_form else nats,
            shared=f"have {name!r} in their prompts and {span!r} as their target, which the rest "
            "of the prompts does not speak for",
            pattern=Pattern(
                part="whole",
                ids=one.label,
                says=labels.saying(span),
                rule=CueRule("any_of", [one.cue], has, 1.0),
                needs_cue=True,
            ),
        )

    def _of_kind(self, one: MislabelledKind, labels: SaidLabels) -> Finding:
        """Of samples that nobody has described, all with the label are taken for such."""
        span = self.text(np.array(one.label))
        return Finding(
            side="target",
            members=one.members,
            n=len(self.texts.rows),
            nats=0.0,
            spans=[span],
            n_clusters=len(np.unique(self.cluster[one.members])),
            ruling="review",
            reasons=[one.in_words()],
            shared=f"have prompts of one kind, such as a style, and {span!r} as their target, "
            "which the content of these does not speak for",
            pattern=Pattern(part="whole", ids=one.label, says=labels.saying(span)),
        )
