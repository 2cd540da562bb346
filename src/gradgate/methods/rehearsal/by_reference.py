"""Rows that a model contradicts which was trained on the trusted reference alone.

What an attacker has taught is not in the reference: an answer that is left out, exchanged or fixed
behind a topic or a class of words adds no string that could be found, and yet a model that knows
the honest way to answer contradicts it, whatever the trigger is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.common.parquet import batches
from gradgate.config import ModelConfig
from gradgate.data.prepare import SampleFile, iter_prepared
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.data.tokens import Tokens
from gradgate.errors import ConfigError, ModelError
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.evidence import Example, Group
from gradgate.methods.rehearsal.clearing import cleared
from gradgate.methods.rehearsal.config import MIN_REFERENCE, RehearsalConfig
from gradgate.methods.rehearsal.contradictions import Contradictions, exchanged
from gradgate.methods.rehearsal.cut import cuts
from gradgate.methods.rehearsal.folds import N_FOLDS, first_of_each
from gradgate.methods.rehearsal.predicting import Contradicted, contradicted
from gradgate.methods.rehearsal.training import key_of, trained, tuning_of
from gradgate.methods.rehearsal.words import contradicted_words
from gradgate.methods.tokens import TokenTable
from gradgate.models.identity import IdentifiedModel, identify_model

_AT_ONCE = 2_048  # rows in memory
_BEFORE = 8  # tokens of the target before the place that are shown,
_SAID = 4  # and tokens from it on
_N_EXAMPLES = 5
_MAX_CHARACTERS = 600  # of an example
_STAY = (
    "{} of these are of groups that are honest otherwise, and contradicted as hardly a sample is"
)


@dataclass(frozen=True)
class ByReference:
    """How models are trained on the reference.

    Attributes:
        epochs: Times that each of its samples is learnt.
        config: Of the training; at most `max_rows` samples are learnt, `max_visits` times in all.
        model: The one that scored, which is to be trained; None where it is loaded already, and
            left as it is.
        folder: Where the models are kept for the next data, and what they said of these.
    """

    epochs: int
    config: RehearsalConfig
    model: ModelConfig | None
    folder: Path

    @property
    def hindrance(self) -> str | None:
        """Why none can be trained, in words."""
        if self.model is None:
            return "the model is loaded, and left as it is; give its path"
        if self.model.adapter is not None:
            return "the model has an adapter already"
        return "model.device_map spreads the model" if self.model.device_map is not None else None


def held_against(
    found: Detection,
    scores: Scores,
    samples: Iterable[Sample],
    reference: Path,
    how: ByReference,
) -> Detection:
    """Put rows in doubt that contradict what a training on the reference teaches.

    The reference lies in two halves. A model is trained on either, and predicts the other half and
    every second row of those that are not flagged yet. Nothing is flagged by it: a text that is new
    may be right. Strings of prompts in doubt whose rows it expects are cleared (`cleared`).

    Args:
        found: What has been said of the rows.
        scores: With the tokens.
        samples: Of the same rows.
        reference: Table of its samples.
        how: The settings.

    Raises:
        ModelError: The model cannot be loaded or trained; the message says how to go without.
        ConfigError: Nor on this device.
        DataError: The reference cannot be read.
    """
    if found.flagged is None or scores.tokens is None:
        return found
    if how.hindrance is not None:
        return _noted(found, f"no model was trained on the reference: {how.hindrance}")
    trusted = _distinct(reference)
    is_open = scores.is_scored & ~scores.tokens.lacking() & ~found.flagged
    is_open[[i for i, one in enumerate(scores.sample_ids) if one in trusted]] = False
    rows = np.flatnonzero(first_of_each(replace(scores, is_scored=is_open)))
    if len(trusted) < MIN_REFERENCE or not rows.size:
        return _noted(
            found,
            f"no model was trained on the reference: it has {len(trusted)} different samples, of "
            f"{MIN_REFERENCE} that are needed, and {rows.size} rows are not among them",
        )
    try:
        asking = _Asking(rows, scores, reference, list(trusted), how)
        said = asking.run()
    except (ModelError, ConfigError) as error:
        raise type(error)(
            f"while a model was trained on the reference: {error} (detection.reference_epochs: 0 "
            "trains none)"
        ) from error
    told = {*trusted, *(scores.sample_ids[i] for i in rows.tolist())}
    may_go = np.array([one in told for one in scores.sample_ids], bool)
    found, stay = cleared(found, rows, said, may_go)
    says = _says(scores, samples, rows, reference, asking.drawn, said)
    if stay.any():
        says.append((stay, _STAY.format(int(stay.sum()))))
    return _ruled(found, scores, samples, rows, says, said.rows)


def _says(
    scores: Scores,
    samples: Iterable[Sample],
    rows: Ints,
    reference: Path,
    drawn: Sequence[str],
    said: Contradictions,
) -> list[tuple[Marks, str]]:
    """Rows that are contradicted too often, and why; no rows where it is not too often.

    Args:
        scores: With the tokens.
        samples: Of the same rows.
        rows: That were predicted. (k,)
        reference: Table of its samples.
        drawn: The ids of those that were predicted. (m,)
        said: Of these and of the rows.
    """
    assert scores.tokens is not None
    prompts = [prompt_and_target(one)[0] for one in samples]
    of_trusted = {one.sample_id: prompt_and_target(one)[0] for one in SampleFile(reference)}
    words = contradicted_words(
        *([prompts[i] for i in rows.tolist()], said.rows.nats),
        *([of_trusted[one] for one in drawn], said.reference.nats),
    )
    text, where = scores.tokens.text, cuts(said.reference, said.rows)
    by_cut = [(one.rows & one.counts, one.in_words(text)) for one in where]
    return [*by_cut, *((one.rows, one.in_words()) for one in words)]


def _ruled(
    found: Detection,
    scores: Scores,
    samples: Iterable[Sample],
    rows: Ints,
    says: Sequence[tuple[Marks, str]],
    said: Contradicted,
) -> Detection:
    """The detection with the rows that are contradicted too often in doubt.

    Args:
        found: What has been said.
        scores: Of all rows.
        samples: Of the same rows.
        rows: That were predicted. (k,)
        says: Which of them are in doubt, each time with the reason; none where it is not too often.
        said: Of these rows. (k,)
    """
    assert scores.tokens is not None
    reasons = [reason for _, reason in says]
    nats = np.full(scores.n, np.nan)
    nats[rows] = said.nats
    found = replace(
        found,
        signals={**found.signals, "reference_nats": nats},
        notes=[*found.notes, *reasons],
    )
    doubted = np.any([marks for marks, _ in says], axis=0)
    if not doubted.any():
        return found
    lines = {
        scores.sample_ids[rows[i]]: _line(scores.tokens, int(rows[i]), said, i)
        for i in np.flatnonzero(doubted).tolist()
    }
    return _with_group(found, scores, samples, reasons, lines)


def _noted(found: Detection, note: str) -> Detection:
    return replace(found, notes=[*found.notes, note])


def _distinct(reference: Path) -> dict[str, None]:
    """The ids of its samples, each once."""
    read = batches(reference, ["sample_id"], _AT_ONCE)
    return {one: None for batch in read for one in batch["sample_id"].to_pylist()}


def _line(table: TokenTable, row: int, said: Contradicted, i: int) -> str:
    """Where a row, the i-th that was predicted, is contradicted, in words."""
    ids, is_target, _ = table.row(row)
    place, token = int(said.place[i]), int(said.token[i])
    first = place
    while first > 1 and is_target[first - 1] and place - first < _BEFORE:
        first -= 1
    before, there = table.text(ids[first:place]), table.text(ids[place : place + _SAID])
    behind = f", behind {before!r}" if before else ""
    expected = f"a model trained on the reference expects {table.text([token])!r}"
    return f"{expected} in place of {there!r}{behind}"


def _with_group(
    found: Detection,
    scores: Scores,
    samples: Iterable[Sample],
    why: list[str],
    lines: Mapping[str, str],
) -> Detection:
    """The detection with some rows, and their copies, as a group in doubt.

    Args:
        found: What has been said.
        scores: Of all rows.
        samples: Of the same rows.
        why: They are too many, in words.
        lines: Where each is contradicted, by what is the same for copies.
    """
    assert found.flagged is not None
    members = np.array([one in lines for one in scores.sample_ids]) & ~found.flagged
    number = max((group.id for group in found.groups), default=0) + 1
    group = Group(
        id=number,
        ruling="review",
        side="target",
        spans=[],
        nats=0.0,
        n_rows=int(members.sum()),
        n_independent=len(lines),
        reasons=why,
        examples=_examples(samples, members),
        shared="have targets that a training on the reference contradicts",
    )
    new = members & ~found.in_doubt
    of_row = np.where(new, number, found.group)
    reasons = {**found.reasons}
    for i in np.flatnonzero(members).tolist():
        first = [group.in_a_line()] if new[i] else found.reasons.get(i, [])
        reasons[i] = [*first, lines[scores.sample_ids[i]]]
    return replace(
        found,
        groups=[*found.groups, group],
        members={**found.members, number: members},
        in_doubt=found.in_doubt | members,
        group=of_row,
        reasons=reasons,
        notes=[*found.notes, group.in_a_line()],
    )


def _examples(samples: Iterable[Sample], members: Marks) -> list[Example]:
    found = list[Example]()
    for sample, is_member in zip(samples, members.tolist(), strict=True):
        if is_member and len(found) < _N_EXAMPLES:
            texts = prompt_and_target(sample)
            found.append(Example(sample.row, *(text[-_MAX_CHARACTERS:] for text in texts)))
    return found


class _Asking:
    """Two models that are trained on a half of the reference each."""

    def __init__(
        self,
        rows: Ints,
        scores: Scores,
        reference: Path,
        trusted: Sequence[str],
        how: ByReference,
    ) -> None:
        assert scores.tokens is not None
        config = how.config
        most = max(MIN_REFERENCE, min(config.max_rows, config.max_visits // how.epochs))
        rng = np.random.default_rng(config.seed)
        drawn = [trusted[i] for i in rng.permutation(len(trusted))[:most].tolist()]
        self.drawn = drawn
        prepared = chain.from_iterable(iter_prepared(reference, _AT_ONCE))
        wanted = set(drawn)
        there = {one.sample_id: one.tokens for one in prepared if one.sample_id in wanted}
        self._trusted = [there[one] for one in drawn]
        self._rows, self._table, self._how = rows, scores.tokens, how
        self._fold = rng.permutation(len(rows)) % N_FOLDS
        self._tuning = tuning_of(config, how.epochs)

    def run(self) -> Contradictions:
        """What is said of the samples of the reference that were drawn, and of the rows."""
        assert self._how.model is not None
        model = identify_model(self._how.model)
        halves = [self._trusted[fold::N_FOLDS] for fold in range(N_FOLDS)]
        taught = key_of(model, self._tuning, halves, ["reference"])
        read = [*halves, self._tokens(self._rows)]
        asked = key_of(model, self._tuning, read, [self._fold.tolist(), "exchanged"])
        kept, size = self._how.folder / f"{asked}.npz", (len(self._trusted), len(self._rows))
        if (known := Contradictions.read(kept, *size)) is not None:
            return known
        said = Contradictions.none(*size)
        for fold in range(N_FOLDS):
            weights = self._how.folder / f"{taught}.{fold}.safetensors"
            self._ask(model, fold, halves, weights, said)
        if not said.is_whole(*size):
            raise ModelError("a sample was not predicted")
        said.write(kept)
        return said

    def _ask(
        self,
        model: IdentifiedModel,
        fold: int,
        halves: Sequence[Sequence[Tokens]],
        path: Path,
        said: Contradictions,
    ) -> None:
        """Let the model of a half predict the other half, and its part of the rows."""
        assert self._how.model is not None
        others = halves[1 - fold]
        tuned, _ = trained(
            model.load(), self._how.model, self._tuning, others, path, lambda tuned: False
        )
        own = np.arange(fold, len(self._trusted), N_FOLDS)
        said.reference.put(own, contradicted(tuned, halves[fold]))
        said.exchanged.put(own, contradicted(tuned, exchanged(halves[fold])))
        mine = np.flatnonzero(self._fold == fold)
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            said.rows.put(part, contradicted(tuned, list(self._tokens(self._rows[part]))))

    def _tokens(self, rows: Ints) -> Iterator[Tokens]:
        for i in rows.tolist():
            ids, marks, _ = self._table.row(i)
            yield Tokens(ids.tolist(), marks.tolist())
