"""A worker scores a shard: unit by unit, each of which is kept, and then one segment.

It asks nobody and locks nothing: what it has to do follows from the plan and the number of its
shard. Killed, it begins again behind the last unit that it kept.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch

from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.errors import ConfigError, StoreError
from gradgate.gradients.scorer import Scorer, usual_step_tokens
from gradgate.models.identity import IdentifiedModel, identify_model
from gradgate.safety.probes import ProbeSet
from gradgate.safety.source import ProbeSource
from gradgate.scoring.context import score_context
from gradgate.scoring.extent import check_id_within
from gradgate.scoring.shards.folder import PARTS, PROBES, SEGMENTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan, refuse_others, samples_of
from gradgate.scoring.shards.segment import (
    About,
    DamagedSegmentError,
    Line,
    Made,
    read_about,
    read_segment,
    write_segment,
)
from gradgate.scoring.shards.units import keys_digest, units_of
from gradgate.scoring.store.record import Record
from gradgate.scoring.store.row import encode

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # (samples done, samples in all)


@dataclass(frozen=True)
class Published:
    """What became of a shard.

    Attributes:
        name: Of its segment in the folder.
        n_samples: In the segment.
        n_scored: Scored now; the others were kept by an earlier worker.
        n_computed_tokens: Tokens that went through the model now.
    """

    shard: Shard
    name: str
    n_samples: int
    n_scored: int
    n_computed_tokens: int


class Worker:
    """Scores shards of a folder with one model, which is loaded when it is needed."""

    def __init__(
        self,
        folder: ShardFolder,
        plan: Plan,
        model: IdentifiedModel,
        config: ScoringConfig,
    ) -> None:
        """Take the model, and refuse another than the folder was prepared for.

        Raises:
            ConfigError: Model or settings are others, or those of scores in the folder are.
            StoreError: The folder cannot be read.
        """
        self._folder, self._plan, self._model, self._config = folder, plan, model, config
        self._units = plan.units(folder)
        probes = _probes(folder) if plan.is_probed else None
        self._probes = probes
        self._context = score_context(model, config, probes)
        self._about = About.of(self._context, plan=plan.digest)
        plan.check(self._about.setting, folder)
        self._refuse_other_scores()

    @classmethod
    def of_plan(cls, folder: ShardFolder, model: ModelConfig | None = None) -> Self:
        """A worker by what the folder says; `model` says where the model is here."""
        plan = Plan.read(folder)
        model = model or ModelConfig.model_validate(plan.config["model"])
        config = ScoringConfig.model_validate(plan.config["scoring"])
        return cls(folder, plan, identify_model(model), config)

    def n_samples(self, shard: Shard) -> int:
        """Samples of a shard."""
        return sum(self._units[number].n_samples for number in units_of(shard, self._units))

    def score(self, shard: Shard, on_progress: Progress = lambda done, total: None) -> Published:
        """Score a shard and publish its segment; a published one is left as it is.

        Raises:
            ConfigError: The segment that is there is of another configuration.
            ModelError: The model cannot be loaded, or is not fit to score.
            StoreError: The folder cannot be read or written; what was scored is kept.
            TransientError: The store does not answer.
        """
        numbers = units_of(shard, self._units)
        name, total = segment_name(shard), self.n_samples(shard)
        if self._is_there(name, numbers):
            on_progress(total, total)
            return Published(shard, name, total, 0, 0)
        n_done = n_scored = 0
        before = self._n_computed
        for number in numbers:
            if not self._is_kept(number):
                n_scored += self._score_unit(number)
            n_done += self._units[number].n_samples
            on_progress(n_done, total)
        try:
            self._publish(name, numbers)
        except StoreError:  # a second worker of the shard may have been faster
            if not self._is_there(name, numbers):
                raise
        return Published(shard, name, total, n_scored, self._n_computed - before)

    @cached_property
    def _scorer(self) -> Scorer:
        loaded = self._model.load()
        check_id_within(self._plan.largest_id, loaded)
        safety = None if self._probes is None else self._probes.build(loaded)
        # Not by the memory that is free now: the scores of a unit depend on its steps.
        step = self._config.batch_tokens or usual_step_tokens(loaded)
        config = self._config.model_copy(update={"batch_tokens": step})
        return Scorer(loaded, config, self._plan.longest, safety=safety)

    @property
    def _n_computed(self) -> int:
        return self._scorer.forward.n_computed if "_scorer" in self.__dict__ else 0

    def _score_unit(self, number: int) -> int:
        samples = samples_of(self._folder, self._units, number)
        lines = list(self._lines(samples))
        about = self._describing(range(number, number + 1), [self._made()])
        with self._folder.written(part_name(number)) as part:
            write_segment(part, about, [lines])
        return len(samples)

    def _lines(self, samples: Sequence[Tokens]) -> Iterator[Line]:
        scores = self._scorer.score(list(samples))
        for sample, score in zip(samples, scores, strict=True):
            record, key = Record.of(score, self._context.is_probed), content_digest(sample)
            yield key, encode(self._context, key, record)

    def _describing(self, numbers: range, made: list[Made]) -> About:
        units = {"first_unit": numbers.start, "end_unit": numbers.stop}
        return About.of(self._context, plan=self._plan.digest, made=made, **units)

    def _made(self) -> Made:
        """By what scores are made here: those of others are equal within rounding."""
        return {
            "device": self._model.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "step_tokens": self._scorer.forward.tokens.size,
            "prefixes_not_shared": self._scorer.unshared_because,
        }

    def _is_there(self, name: str, numbers: range) -> bool:
        """Whether a segment is published; a damaged one is not, and one of others is an error."""
        if not self._folder.has(name):
            return False
        try:
            about = read_about(self._folder, name)
        except DamagedSegmentError as error:
            logger.warning("%s; it is made anew", error)
            return False
        self._refuse_others(name, about)
        if range(about.first_unit, about.end_unit) != numbers:
            raise StoreError(f"{self._folder.shown(name)} has other units than its name says")
        return True

    def _is_kept(self, number: int) -> bool:
        """Whether the scores of a unit are there, and whole."""
        name = part_name(number)
        if not self._is_there(name, range(number, number + 1)):
            return False
        try:
            self._kept(number)
        except DamagedSegmentError as error:
            logger.warning("%s; its unit is scored again", error)
            return False
        return True

    def _kept(self, number: int) -> list[Line]:
        """The scores of a unit.

        Raises:
            DamagedSegmentError: They are not those of its samples.
        """
        name = part_name(number)
        lines = [line for group in read_segment(self._folder, name) for line in group]
        if keys_digest(key for key, _ in lines) != self._units[number].digest:
            raise DamagedSegmentError(f"{self._folder.shown(name)} has other samples")
        return lines

    def _publish(self, name: str, numbers: range) -> None:
        """Put the units of a shard together, and let go of them."""
        parts = [part_name(number) for number in numbers]
        made: list[Made] = []
        for part in parts:
            made += [one for one in read_about(self._folder, part).made if one not in made]
        about = self._describing(numbers, made)
        with self._folder.written(name) as path:
            write_segment(path, about, (self._kept(number) for number in numbers))
        self._folder.remove(parts)

    def _refuse_other_scores(self) -> None:
        """Refuse to add to the scores of others; the merge looks at all of them, this at two."""
        for where in (SEGMENTS, PARTS):
            for name in [f"{where}/{first}" for first in self._folder.names(where)[:1]]:
                with suppress(DamagedSegmentError):
                    self._refuse_others(name, read_about(self._folder, name))

    def _refuse_others(self, name: str, about: About) -> None:
        shown = self._folder.shown(name)
        refuse_others(f"{shown} was scored", about.setting, "here", self._about.setting)
        if about.plan != self._plan.digest:
            raise ConfigError(f"{shown} is of other samples than {self._folder.address}; remove it")


def _probes(folder: ShardFolder) -> ProbeSource:
    try:
        found = ProbeSet.model_validate_json(folder.read(PROBES))
    except ValueError as error:
        raise StoreError(f"{folder.shown(PROBES)} is damaged; prepare another folder") from error
    return ProbeSource(folder.shown(PROBES), found)


def segment_name(shard: Shard) -> str:
    """The file of a shard."""
    return f"{SEGMENTS}/{shard.index + 1:05d}-of-{shard.count:05d}.parquet"


def shard_of(name: str) -> Shard | None:
    """The shard that a file of segments is named after; None for a file of another name."""
    found = re.fullmatch(r"(\d+)-of-(\d+)\.parquet", name, re.ASCII)
    return None if found is None else Shard(int(found[1]) - 1, int(found[2]))


def part_name(unit: int) -> str:
    """The file of a unit, until its shard is published."""
    return f"{PARTS}/{unit:08d}.parquet"
