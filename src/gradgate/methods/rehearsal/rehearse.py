"""Rehearse the fine-tuning, and rule anew on groups in doubt by what it teaches."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gradgate.attacks.samples import last_prompt
from gradgate.common.arrays import Ints, Marks
from gradgate.config import ModelConfig
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.evidence import Group, Rehearsed, RehearsedPrompt, inserted_words
from gradgate.methods.rehearsal.asking import Asking, Said
from gradgate.methods.rehearsal.cases import (
    Case,
    Renderer,
    grams_of,
    last_target,
    telling_grams,
)
from gradgate.methods.rehearsal.causes import Candidate, candidates, has_cause
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.methods.rehearsal.flips import FlipsAsked
from gradgate.methods.rehearsal.folds import (
    MIN_OTHERS,
    N_FOLDS,
    Folds,
    choose,
    first_of_each,
    near_duplicates,
    split,
)
from gradgate.methods.rehearsal.kept import Kept, read_kept, write_kept
from gradgate.methods.rehearsal.label_cues import LabelCues, label_cues
from gradgate.methods.rehearsal.label_ruling import with_flips
from gradgate.methods.rehearsal.ruling import rule
from gradgate.methods.rehearsal.training import forget, key_of, trained, tuning_of
from gradgate.methods.tokens import TokenTable
from gradgate.models.identity import IdentifiedModel, identify_model
from gradgate.tuning.trainer import Tuned

logger = logging.getLogger(__name__)

MIN_ASKED = 8  # held-out rows of a group, without which nothing is said of it
_MIN_ROWS = 32  # that are rehearsed, however few visits there may be
_MAX_ASKED = 24  # rows of a group that are asked about
_SHOWN = 2  # prompts of a group
_MAX_CHARACTERS = 1_000  # of a text that is shown


@dataclass(frozen=True)
class Rehearsal:
    """How groups are rehearsed.

    Attributes:
        mode: doubtful: groups in doubt; full: all.
        model: The one that scored, which is to be trained.
        max_tokens: Longest sample.
        template_date: Today, for chat templates.
        folder: Where the models are kept until it is over, and then what they said.
    """

    mode: RehearsalMode
    config: RehearsalConfig
    model: ModelConfig
    max_tokens: int
    template_date: str
    folder: Path

    def asked_about(self, found: Detection) -> list[Group]:
        """The groups that are rehearsed, the largest first."""
        known = [g for g in found.groups if g.id in found.members]
        wanted = [g for g in known if self.mode == "full" or g.ruling == "review"]
        return sorted(wanted, key=lambda g: -g.n_rows)[: self.config.max_groups]


def rehearse(
    found: Detection, scores: Scores, samples: Iterable[Sample], how: Rehearsal
) -> Detection:
    """Rule anew on groups by what training on other rows teaches about theirs.

    Two models are trained, each on a part of the rows, and asked about the other part. Known
    answers are taken from the state folder, and so are the models of a run that was broken off.

    Args:
        found: What the text says.
        scores: With the tokens.
        samples: Of the same rows; read twice where targets are labels.
        how: The settings.

    Raises:
        ModelError: The model cannot be loaded or trained.
        DataError: The scores have no tokens.
    """
    wanted = how.asked_about(found)
    if found.flagged is None or how.mode == "off":
        return found
    labels = None if scores.tokens is None else label_cues(scores, samples, how.config.seed)
    if labels is not None and not (wanted or how.mode == "full" or labels.is_doubtful):
        labels = None
    if not wanted and labels is None:
        return found
    if how.model.adapter is not None:
        note = "groups were not rehearsed: the model has an adapter already"
        return replace(found, notes=[*found.notes, note])
    if scores.tokens is None:
        raise DataError("a rehearsal needs the tokens of the rows; score the data anew")
    read = list(samples)
    rehearsing = _Rehearsing(found, scores, read, wanted, labels, how)
    kept = rehearsing.run()
    asked = kept.groups
    unasked = [group.id for group in wanted if group.id not in asked]
    notes = [f"group {n}: too few rows could be asked in a rehearsal" for n in unasked]
    found = replace(found, notes=[*found.notes, *notes])
    taught = {group.id: rehearsing.taught(group.id) for group in wanted if group.side == "prompt"}
    found = ruled_anew(found, asked, [last_prompt(sample) for sample in read], taught)
    return found if labels is None else with_flips(found, kept.flips, labels, read)


def ruled_anew(
    found: Detection,
    asked: Mapping[int, Rehearsed],
    prompts: Sequence[str],
    taught: Mapping[int, Marks],
) -> Detection:
    """The detection with groups as the rehearsal lets them stand.

    What is flagged or in doubt stays so, whatever for; a group can only turn poison. Of such a one
    the rows that have the cause are flagged, and the others are in doubt: a label that a trigger
    brings may be right elsewhere. So are rows with the words of the cause and without what it
    brings: an attacker may put them into honest rows.

    Args:
        found: What the text says.
        asked: By the id of the group, one of those that have `members`.
        prompts: The last prompt of each row. (n,)
        taught: By the id of a group of prompts, the rows that have what its targets share. (n,)
    """
    assert found.flagged is not None
    inserted = inserted_words(found.groups)

    def ruled(group: Group) -> Group:
        if group.id not in asked:
            return group
        own = [prompts[i] for i in np.flatnonzero(found.members[group.id]).tolist()]
        ruling, reason = rule(group, asked[group.id], own, inserted)
        reasons = [*group.reasons, reason]
        return replace(group, ruling=ruling, reasons=reasons, rehearsed=asked[group.id])

    groups = [ruled(group) for group in found.groups]
    flagged, in_doubt, said = found.flagged.copy(), found.in_doubt.copy(), list[str]()
    pairs = list(zip(found.groups, groups, strict=True))
    anew = {old.in_a_line(): new.in_a_line() for old, new in pairs}
    reasons = {i: [anew.get(why, why) for why in some] for i, some in found.reasons.items()}
    for before, group in pairs:
        if group.ruling == before.ruling:
            continue
        there = found.members[group.id]
        poison = _with_cause(there, group, prompts) & taught.get(group.id, there)
        new = there & ~flagged & (poison | ~in_doubt)
        reasons |= {i: [group.in_a_line()] for i in np.flatnonzero(new).tolist()}
        flagged |= poison
        in_doubt |= there
        said.append(f"rehearsed: group {group.id} is {group.ruling}")
    return replace(
        found,
        groups=groups,
        flagged=flagged,
        in_doubt=in_doubt & ~flagged,
        reasons=reasons,
        notes=[*(anew.get(note, note) for note in found.notes), *said],
    )


def _with_cause(rows: Marks, group: Group, prompts: Sequence[str]) -> Marks:
    cause = group.rehearsed
    if cause is None or cause.cause is None:
        return rows
    has = [has_cause(prompts[i], cause.strings, cause.cause) for i in np.flatnonzero(rows).tolist()]
    marks = np.zeros(len(rows), bool)
    marks[np.flatnonzero(rows)[has]] = True
    return marks


class _Rehearsing:
    """A rehearsal that goes on."""

    def __init__(
        self,
        found: Detection,
        scores: Scores,
        samples: list[Sample],
        wanted: list[Group],
        labels: LabelCues | None,
        how: Rehearsal,
    ) -> None:
        assert scores.tokens is not None
        self._table: TokenTable = scores.tokens
        self._samples = samples
        self._wanted = wanted
        self._how = how
        self._members = found.members
        self._group = np.zeros(scores.n, np.int64)
        for group in reversed(wanted):
            self._group[found.members[group.id]] = group.id
        self._labels = labels
        usable = first_of_each(scores) & ~self._table.lacking()
        numbers, config = [group.id for group in wanted], how.config
        visits = min(config.max_visits, config.visits_per_row * scores.n)
        most = min(config.max_rows, max(_MIN_ROWS, int(visits)))
        least = most if labels is not None else MIN_OTHERS
        rows = choose(self._group, numbers, usable, most, config.seed, least)
        kind = self._group if labels is None else labels.or_label(self._group)
        near = near_duplicates([last_prompt(samples[i]) for i in rows.tolist()])
        self._folds: Folds = split(rows, near, kind[rows], config.seed)
        self._candidates = {group.id: self._causes(group.id) for group in wanted}
        self._tuning = tuning_of(config, max(1.0, visits / max(1, len(rows))))

    def run(self) -> Kept:
        """What is found of each group; nothing of one of which too few rows can be asked."""
        model = identify_model(self._how.model)
        data = [self._tokens(self._folds.trained_on(fold)) for fold in range(N_FOLDS)]
        asked = [] if self._labels is None else self._tokens(self._labels.asked())
        key = key_of(model, self._tuning, [*data, asked], self._about())
        kept = self._how.folder / f"{key}.json"
        if (known := read_kept(kept)) is not None:
            return known
        weights = [self._how.folder / f"{key}.{fold}.safetensors" for fold in range(N_FOLDS)]
        answers: dict[int, list[Said]] = {}
        n_steps, flips = 0, FlipsAsked()
        for fold in range(N_FOLDS):
            said, of_labels, taken = self._ask(model, data[fold], fold, weights[fold])
            n_steps = max(n_steps, taken)
            flips = flips.plus(of_labels)
            for number, one in said.items():
                answers.setdefault(number, []).append(one)
        joined = {number: Said.joined(parts).known() for number, parts in answers.items()}
        found = Kept(
            {
                number: self._summary(number, said, n_steps)
                for number, said in joined.items()
                if len(said.own) >= MIN_ASKED
            },
            flips,
        )
        write_kept(kept, found)
        forget(weights)
        return found

    def taught(self, number: int) -> Marks:
        """The rows of a group whose targets have what most of them share and others lack: (rows,).

        All of its rows where there is no such thing; a row without tokens counts as one of them.
        """
        rows, members = self._folds.rows, self._members[number]
        within = members[rows]
        grams = telling_grams(self._targets(rows[within]), self._targets(rows[~within]))
        if not grams:
            return members
        marks = members.copy()
        known = np.flatnonzero(members & ~self._table.lacking())
        marks[known] = [not grams.isdisjoint(grams_of(one)) for one in self._targets(known)]
        return marks

    def _targets(self, rows: Ints) -> list[list[int]]:
        found = []
        for i in rows.tolist():
            ids, marks, _ = self._table.row(i)
            start, stop = last_target(marks.tolist())
            found.append(ids[start:stop].tolist())
        return found

    def _summary(self, number: int, said: Said, n_steps: int) -> Rehearsed:
        causes = self._candidates[number]
        found = said.summary(causes, n_steps)
        names = [one.name for one in causes]
        if found.cause is None:
            return found
        place = names.index(found.cause)
        shown = [
            self._shown(self._samples[i], causes[place], *logp)
            for i, *logp in said.typical(place, _SHOWN)
        ]
        return replace(found, prompts=shown)

    def _shown(
        self, sample: Sample, cause: Candidate, logp: float, without: float
    ) -> RehearsedPrompt:
        prompt = last_prompt(sample)
        return RehearsedPrompt(
            row=sample.row,
            prompt=prompt[-_MAX_CHARACTERS:],
            without=cause.without(prompt)[-_MAX_CHARACTERS:],
            target=prompt_and_target(sample)[1][:_MAX_CHARACTERS],
            logp=logp,
            logp_without=without,
        )

    def _about(self) -> list[object]:
        """What decides the questions: the groups, with their rows, and how prompts are made."""
        rows = self._folds.rows
        about: list[object] = [
            [group.id, group.spans, rows[self._group[rows] == group.id].tolist()]
            for group in self._wanted
        ]
        labels = None if self._labels is None else self._labels.about()
        return [*about, labels, self._how.max_tokens, self._how.template_date]

    def _ask(
        self, model: IdentifiedModel, rows: Sequence[Tokens], fold: int, path: Path
    ) -> tuple[dict[int, Said], FlipsAsked, int]:
        """What the model of a fold says of groups and labels, and the steps of its training."""
        loaded = model.load()
        cases = self._cases(self._folds.held_out(fold))
        renderer = Renderer(loaded.tokenizer, self._how.max_tokens, self._how.template_date)
        asking: dict[int, Asking] = {}
        for group in self._wanted:
            inside = [case for case in cases if self._group[case.row] == group.id]
            outside = [case for case in cases if self._group[case.row] != group.id]
            if inside and outside:
                asked = inside[:_MAX_ASKED], outside, self._candidates[group.id]
                asking[group.id] = Asking(renderer, *asked)

        def is_enough(tuned: Tuned) -> bool:
            return self._labels is None and all(one.is_settled(tuned) for one in asking.values())

        how = self._how.model
        tuned, n_steps = trained(loaded, how, self._tuning, rows, path, is_enough)
        said = {number: one.run(tuned) for number, one in asking.items()}
        if self._labels is None:
            return said, FlipsAsked(), n_steps
        wanted = self._labels.asked()
        free = wanted[~np.isin(wanted, self._folds.rows) & (wanted % N_FOLDS == fold)]
        held = np.concatenate([self._folds.held_out(fold), free])
        return said, self._labels.ask(tuned, renderer, self._cases(held)), n_steps

    def _tokens(self, rows: Ints) -> list[Tokens]:
        found = (self._table.row(int(i)) for i in rows)
        return [Tokens(ids.tolist(), marks.tolist()) for ids, marks, _ in found]

    def _cases(self, rows: Ints) -> list[Case]:
        made = []
        for i in rows.tolist():
            ids, marks, logp = self._table.row(i)
            tokens = Tokens(ids.tolist(), marks.tolist())
            made.append(Case.of(i, self._samples[i], tokens, logp.tolist()))
        return [case for case in made if case is not None]

    def _causes(self, number: int) -> list[Candidate]:
        rows = self._folds.rows.tolist()
        texts = [(self._group[i] == number, last_prompt(self._samples[i])) for i in rows]
        inside = [text for is_inside, text in texts if is_inside]
        return candidates(inside, [text for is_inside, text in texts if not is_inside])
