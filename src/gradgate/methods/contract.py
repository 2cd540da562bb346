"""What a method is: from scores and samples it says of each row how suspicious it is, and why."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import pyarrow as pa

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.common.parquet import batches
from gradgate.common.run_folder import is_scored
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.methods.evidence import Group
from gradgate.methods.evidence import Question as Question
from gradgate.methods.expected import Expected
from gradgate.methods.tokens import TokenTable
from gradgate.models.handle import ModelHandle
from gradgate.safety.probes import ProbeSet

# What a method's settings make of it that it cannot say which rows are flagged; `error`: what it
# needs is not there, such as a model that refuses anything.
Undecided = Literal["review", "fail", "pass", "error"]
SettingsT = TypeVar("SettingsT", bound=Section)

# Token ids of some sequences -> for each the log-probability of each of its tokens, in nats; NaN
# for the first one, and for all of a sequence that cannot be scored.
AskModel = Callable[[Sequence[Sequence[int]]], list[Floats]]

# Token ids of some sequences -> for each the mean of its hidden states in the middle of the model;
# NaN for a sequence for which these are not finite. (n, d)
DescribeModel = Callable[[Sequence[Sequence[int]]], Floats]

# Samples that are no rows, such as those of a reference -> their lines, with the signals that the
# method needs.
ScoreSamples = Callable[[Sequence[Sample]], "Scores"]

_READ_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class Erosion:
    """Which prompts the untuned model refuses, and which of these targets comply.

    Attributes:
        refused: The model would refuse the prompt. (n,)
        complied: It would, and the target does not. (n,)
    """

    refused: Marks
    complied: Marks


@dataclass(frozen=True)
class ModelAccess:
    """The untuned model, for methods that need more of it than the score table.

    Attributes:
        handle: Gives its tokenizer, and loads it.
        ask: As in `Scores`.
        score: As in `Scores`.
        probes: As in `Scores`.
        describe: As in `Scores`.
    """

    handle: ModelHandle
    ask: AskModel | None = None
    score: ScoreSamples | None = None
    probes: ProbeSet | None = None
    describe: DescribeModel | None = None


@dataclass(frozen=True, eq=False)
class Scores:
    """The lines of a score table, in the order of the source.

    Attributes:
        rows: Row numbers in the source. (n,)
        sample_ids: The same for repeated rows. (n,)
        is_scored: Which rows have a score. (n,)
        signals: By name; NaN where a row has none. (n,)
        expected: What the owner vouches for (`policy.expected`); None for nothing.
        tokens: Of the same rows; only for a method that needs them.
        ask: The log-probabilities of token sequences under the untuned model; only for a method
            that needs tokens. A later step may ask a rehearsed model in the same way.
        erosion: What a method that answers `harmful` has found in the same run; None where none
            was asked.
        score: Scores other samples with the same model and settings, through the score store.
        model: Loads the untuned model; only for a method that needs it.
        probes: The probing set that the signals were taken against; None where there was none.
        is_copy: Whether poison was planted in these rows, to see whether a method finds it; one may
            leave out what takes long and could only find more.
        describe: What the untuned model makes of token sequences; only for a method that needs
            tokens.
    """

    rows: Ints
    sample_ids: list[str]
    is_scored: Marks
    signals: Mapping[str, Floats]
    expected: Expected | None = None
    tokens: TokenTable | None = None
    ask: AskModel | None = None
    erosion: Erosion | None = None
    score: ScoreSamples | None = None
    model: ModelHandle | None = None
    probes: ProbeSet | None = None
    is_copy: bool = False
    describe: DescribeModel | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.sample_ids)

    @classmethod
    def read(cls, path: Path, signals: Iterable[str]) -> Self:
        """Read a score table.

        Raises:
            DataError: The file is missing or damaged, or lacks a signal.
        """
        names = list(signals)
        parts = list(batches(path, ["row", "sample_id", "status", *names], _READ_ROWS))
        return cls(
            rows=np.concatenate([np.empty(0, np.int64), *(_column(b, "row") for b in parts)]),
            sample_ids=[i for b in parts for i in b["sample_id"].to_pylist()],
            is_scored=np.concatenate([np.empty(0, bool), *(is_scored(b) for b in parts)]),
            signals={
                name: np.concatenate([np.empty(0), *(_column(b, name) for b in parts)]).astype(
                    np.float64
                )
                for name in names
            },
        )


def _column(batch: pa.RecordBatch, name: str) -> Floats:
    return np.asarray(batch[name].to_numpy(zero_copy_only=False))


@dataclass(frozen=True, eq=False, kw_only=True)
class Detection:
    """What a method makes of a data set, row by row in the order of the scores.

    Attributes:
        suspicion: High is suspicious; NaN where the method says nothing of a row. (n,)
        flagged: None where the method cannot decide, unless its settings accept all rows then. (n,)
        in_doubt: Rows that a person has to look at, and that are not flagged. (n,)
        group: `Group.id` of each row; 0 for none. (n,)
        groups: The evidence, the most important first.
        members: The rows of each group by its id, for what rules on groups anew. (n,) each
        reasons: Why a row is flagged or in doubt, in words, by its position.
        p_values: Against a trusted reference; None without one. (n,)
        erosion: For methods that answer another question; None where it says nothing of it.
        signals: What the method itself has computed of each row; goes into the table. (n,) each
        summary: Other facts, in plain JSON values.
        notes: What the method cannot say about this data, in words.
        undecided_because: Why no row could be flagged, in words.
        undecided_means: What the method, or its settings, makes of that.
    """

    suspicion: Floats
    flagged: Marks | None
    in_doubt: Marks
    group: Ints
    groups: list[Group] = field(default_factory=list)
    members: Mapping[int, Marks] = field(default_factory=dict)
    reasons: Mapping[int, list[str]] = field(default_factory=dict)
    p_values: Floats | None = None
    erosion: Erosion | None = None
    signals: Mapping[str, Floats] = field(default_factory=dict)
    summary: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    undecided_because: str | None = None
    undecided_means: Undecided = "review"


class Method(ABC, Generic[SettingsT]):
    """A way to find suspicious samples; register a subclass and every command knows it.

    Attributes:
        name: As it is called in a configuration.
        question: What it answers.
        needs: Signals of the score table without which it cannot flag.
        needs_tokens: Whether it needs the tokens and their log-probabilities, `Scores.tokens`.
            Where it needs neither these nor a signal, its canaries need no model.
        needs_model: Whether it sends the samples through the model itself, `Scores.model`.
        needs_safety: Whether it needs the signals that are taken against a probing set.
        reports: Signals that it only holds beside its evidence; they may be missing.
        settings: Its section of the configuration, `detection.<name>`.
        takes_reference: Whether it can hold its findings against a trusted data set.
        is_rehearsed: Whether a rehearsal may rule anew on its groups; it says the rows of each,
            `Detection.members`, and needs tokens.
    """

    name: ClassVar[str]
    question: ClassVar[Question]
    needs: ClassVar[tuple[str, ...]] = ()
    needs_tokens: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    needs_safety: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ()
    settings: type[SettingsT]
    takes_reference: ClassVar[bool] = False
    is_rehearsed: ClassVar[bool] = False

    @abstractmethod
    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: SettingsT,
    ) -> Detection:
        """Say of each row how suspicious it is.

        Args:
            scores: With the signals that it needs and reports, as far as they are known, and with
                the tokens if it needs them.
            samples: Of the same rows in the same order; can be gone through several times.
            reference: Samples of a trusted data set of the same kind.
            settings: Its own.

        Raises:
            DataError: Scores and samples do not belong together, or a score cannot be one.
        """
