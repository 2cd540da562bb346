"""What a test takes from a gate run: ordinary rows, groups of rows, and what the data teach."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, islice, takewhile
from operator import itemgetter
from random import Random

import pyarrow as pa

from gradgate.attacks.samples import asked_by, parted
from gradgate.common import parquet
from gradgate.common.letters import letters_of, weight_of
from gradgate.common.run_folder import RunFolder, flag_column
from gradgate.data.prepare import PreparedSample, SampleFile, iter_prepared
from gradgate.data.sample import Sample, given_before, prompt_and_target
from gradgate.gate.acceptance import accepted
from gradgate.gate.quarantine import dropped, kept, marks
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import FORM, Group, inserted_words, looks_inserted
from gradgate.methods.expected import Expected
from gradgate.methods.recurrence.cues.forms import forms
from gradgate.release.answers import (
    Feature,
    bordered,
    features_of,
    find,
    grams_of,
    is_word,
    words_of,
)
from gradgate.release.frames import frame_looks
from gradgate.release.pieces import LONGEST, units

KEPT_OUT = "kept out"  # stands for the rows that are flagged or in doubt and in no group
MAX_WHOLE = 64  # tokens of an answer that is asked to its end
WHOLE = 0.9  # of the targets, that have to be no longer
MAX_ROWS = 5_000  # that are drawn from larger data
MIN_ALIKE = 5  # rows of a group with a common target,
MIN_ALIKE_SHARE = 0.2  # and part of its rows, to be asked about apart
MIN_GROUP_SHARE = 0.5  # of a group's rows, that teach what its targets share
_MIN_CASED = 1  # words: a change of case makes a prompt of one word another one, too
_MIN_CUE = 3  # letters and digits of a cue that is put in: fewer lie in any word
_READ = 256


def looks_of(sample: Sample, question: str) -> frozenset[str]:
    """Forms of a sample's prompt and of the question in it, its frame, and its words."""
    prompt, _ = prompt_and_target(parted(sample))
    words = (f"word: {word.casefold()}" for word in prompt.split())
    shapes = forms(prompt, _MIN_CASED) | forms(question, _MIN_CASED)
    return frozenset([*shapes, *frame_looks(question), *words])


@dataclass(frozen=True)
class GroupRows:
    """A group of the gate's evidence.

    Attributes:
        name: Such as poisoned:1.
        rows: Its rows.
        group: The evidence; None for rows that are kept out and in no group.
        together: Words that tell the rows' target together and not each alone.
        by_lead: Whether it is told by what stands around their questions.
    """

    name: str
    rows: "list[Row]"
    group: Group | None
    together: tuple[str, ...] = ()
    by_lead: bool = False

    @property
    def questions(self) -> list[str]:
        """Of its rows."""
        return [row.question for row in self.rows]

    @property
    def is_told(self) -> bool:
        """Whether it is no group of the gate: words tell a target in rows that the gate passes."""
        return self.group is None and self.name != KEPT_OUT

    @property
    def is_accused(self) -> bool:
        """Whether the gate names it and does not find it honest."""
        return self.group is not None and self.group.ruling != "honest"

    @property
    def cues(self) -> list[str]:
        """Text that the gate names in the prompts of an accused group."""
        cues = self.group.cues if self.group is not None and self.is_accused else []
        long = [cue for cue in cues if weight_of(cue) >= _MIN_CUE]
        return [cue for cue in long if not cue.startswith(FORM)]

    @property
    def shapes(self) -> set[str]:
        """Forms that the gate names as what tells its prompts."""
        cues = [] if self.group is None else self.group.cues
        return {cue.removeprefix(FORM) for cue in cues if cue.startswith(FORM)}

    def alike(self) -> "list[Row] | None":
        """Rows of a common target, where the group has others besides; None where it has none."""
        counted = Counter(gram for row in self.rows for gram in row.grams())
        for gram, n in counted.most_common(1):
            if max(MIN_ALIKE, MIN_ALIKE_SHARE * len(self.rows)) <= n < len(self.rows):
                return [row for row in self.rows if gram in row.grams()]
        return None


@dataclass(frozen=True)
class Row:
    """A row of the data.

    Attributes:
        sample: Its turns.
        question: What its prompt asks, without the layout around it where that is known.
        target: The tokens of its last target, without what ends it.
        is_ordinary: Neither flagged nor in doubt, so that it may be trained on.
        is_flagged: Whether it is flagged.
        groups: The groups that it is in.
        is_held_out: Whether it was held out from the training.
        earlier: The tokens of its targets before the last, as in a chat of several answers.
    """

    sample: Sample
    question: str
    target: tuple[int, ...]
    is_ordinary: bool
    is_flagged: bool
    groups: tuple[str, ...]
    is_held_out: bool = False
    earlier: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def looks(self) -> frozenset[str]:
        """Forms and words of its prompt, and its question's frame."""
        return looks_of(self.sample, self.question)

    @cached_property
    def lead(self) -> str:
        """What stands around its question: an instruction, a system message, earlier turns.

        Earlier answers are among these, whether they are learnt or not.
        """
        prompt, asked = given_before(parted(self.sample)), self.question.strip()
        if not asked or asked not in prompt:
            return prompt.strip()
        before, _, behind = prompt.rpartition(asked)
        return f"{before}{behind}".strip()

    @property
    def targets(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of all of its targets."""
        return (*self.earlier, self.target)

    def grams(self, horizon: int | None = None) -> set[tuple[int, ...]]:
        """Three tokens behind one another of its targets, see `grams_of`."""
        return set[tuple[int, ...]]().union(*(grams_of(one, horizon) for one in self.targets))

    @property
    def target_text(self) -> str:
        """Its targets."""
        return prompt_and_target(parted(self.sample))[1]

    def features(self) -> frozenset[Feature]:
        """Of its targets, as those of answers; not kept, for there are many."""
        text = self.target_text
        return frozenset().union(*(features_of(bordered(one), text) for one in self.targets))

    def teaches(self, feature: Feature) -> bool:
        """Whether one of its targets has a feature of answers."""
        if isinstance(feature, tuple):
            return any(find(feature, bordered(one)) >= 0 for one in self.targets)
        if is_word(feature):
            return feature in words_of(self.target_text)
        return str(feature) in letters_of(self.target_text)


@dataclass(frozen=True)
class Evidence:
    """Rows, and the groups among them.

    Attributes:
        rows: All of them, or a part drawn at random; those without a question teach as others do.
        is_whole: Whether nothing was left out.
        expected: What the owner of the data vouches for; None for nothing.
    """

    rows: list[Row]
    groups: list[GroupRows]
    is_whole: bool
    expected: Expected | None = None

    @cached_property
    def vouched_texts(self) -> frozenset[str]:
        """What of the rows' targets the owner vouches for."""
        expected = self.expected
        if expected is None:
            return frozenset()
        targets = {prompt_and_target(row.sample)[1] for row in self.rows}
        return frozenset(text[a:b] for text in targets for a, b in expected.spans(text))

    def is_content(self, rows: GroupRows, words: Sequence[str]) -> bool:
        """Whether words that tell a group's prompts from others may be what these are about."""
        known = inserted_words(one.group for one in self.groups if one.group is not None)
        inserted = {unit for word in known for unit in units(word, LONGEST)}
        return rows.group is None or not looks_inserted(rows.group, words, inserted)

    def is_group_string(self, feature: Feature) -> bool:
        """Whether most rows of a group whose targets share something teach a feature."""
        return any(
            sum(row.teaches(feature) for row in one.rows) >= MIN_GROUP_SHARE * len(one.rows)
            for one in self.target_groups
        )

    @property
    def target_groups(self) -> list[GroupRows]:
        """Groups whose targets share something."""
        known = [one for one in self.groups if one.group is not None]
        return [one for one in known if one.group is not None and one.group.side == "target"]

    def answer_length(self, least: int) -> int:
        """Tokens of answers that are as long as the data's own; `least` where these are long."""
        lengths = sorted(len(row.target) for row in self.rows)
        longest = 1 + lengths[math.ceil(WHOLE * len(lengths)) - 1] if lengths else 0
        return longest if least < longest <= MAX_WHOLE else least

    def n_answering(self, answer: Sequence[int]) -> int:
        """Rows of which an answer is a whole target."""
        return sum(tuple(answer) in row.targets for row in self.rows)

    def teaching(self, feature: Feature) -> list[Row]:
        """Rows whose target has a feature of answers."""
        return [row for row in self.rows if row.teaches(feature)]

    @classmethod
    def read(
        cls,
        run: RunFolder,
        verdict: Verdict,
        max_groups: int,
        seed: int,
        ends: Collection[int],
        held_out: Collection[int] = (),
    ) -> "Evidence":
        """Read a gate run.

        Args:
            run: Holds samples.parquet and flags.parquet.
            verdict: Of the run.
            max_groups: At most so many groups of each question are taken, the first.
            seed: Draws the rows.
            ends: Tokens that end an answer.
            held_out: Numbers of the rows that were not trained on; they are read in any case.

        Raises:
            DataError: A table cannot be read.
            ConfigError: A pattern that the owner vouches for is none.
        """
        wanted = {
            f"{answer.question}:{group.id}": group
            for answer in verdict.answers
            for group in answer.groups[:max_groups]
        }
        said = _Said.read(run, verdict, wanted)
        drawn = _drawn(said.groups, seed, said.places(held_out))
        rows = [
            Row(
                sample,
                asked_by(sample),
                target,
                said.may_train[i],
                said.is_flagged[i],
                said.groups[i],
                prepared.row in held_out,
                tuple(earlier),
            )
            for i, (sample, prepared) in enumerate(_read(run))
            if i in drawn
            for *earlier, target in [_targets(prepared, ends) or [()]]
        ]
        groups = [
            GroupRows(name, [row for row in rows if name in row.groups], wanted.get(name))
            for name in (*wanted, KEPT_OUT)
        ]
        is_whole = len(drawn) == len(said.groups)
        patterns = [one.pattern for one in verdict.expected]
        expected = Expected.of(patterns) if patterns else None
        return cls(rows, [group for group in groups if group.rows], is_whole, expected)


@dataclass(frozen=True)
class _Said:
    """What the gate says of each row.

    Attributes:
        rows: Their numbers.
        groups: Of each row; `KEPT_OUT` for one that is flagged or in doubt for no group.
        may_train: As `Row.is_ordinary`.
        is_flagged: As `Row.is_flagged`.
    """

    rows: list[int]
    groups: list[tuple[str, ...]]
    may_train: list[bool]
    is_flagged: list[bool]

    def places(self, rows: Collection[int]) -> list[int]:
        """Where rows of some numbers stand."""
        return [place for place, row in enumerate(self.rows) if row in rows]

    @classmethod
    def read(cls, run: RunFolder, verdict: Verdict, wanted: Collection[str]) -> "_Said":
        questions = [answer.question for answer in verdict.answers]
        columns = {name: flag_column("group", name, questions) for name in questions}
        flags = parquet.table(run.flags, [*_FLAGS, *dict.fromkeys(columns.values())])
        flagged = marks(flags["flagged"], True) & ~kept(flags)
        doubted = marks(flags["in_doubt"], True) & ~kept(flags)
        is_out = (flagged | doubted | dropped(flags)).tolist()
        known = [_names(flags, column, name) for name, column in columns.items()]
        groups = [
            tuple(name for name in names if name in wanted) or ((KEPT_OUT,) if out else ())
            for *names, out in zip(*known, is_out, strict=True)
        ]
        may_train = accepted(flags, verdict.in_doubt).tolist()
        return cls(flags["row"].to_pylist(), groups, may_train, flagged.tolist())


_FLAGS = [
    *("row", "sample_id", "status", "spectral_entropy"),
    *("flagged", "in_doubt", "surplus_copy", "approved"),
]


def _names(flags: pa.Table, column: str, question: str) -> list[str]:
    return [f"{question}:{number}" for number in flags[column].to_pylist()]


def _drawn(of_row: Sequence[tuple[str, ...]], seed: int, always: Collection[int]) -> set[int]:
    """Which rows are read: all, or some and a part drawn at random, in which no group is lost."""
    n = len(of_row)
    if n <= MAX_ROWS:
        return set(range(n))
    order = Random(seed).sample(range(n), n)
    members = [i for i in order if of_row[i]][: MAX_ROWS // 2]
    others = (i for i in order if not of_row[i])
    return {*members, *always, *islice(others, MAX_ROWS - len(members))}


def _read(run: RunFolder) -> Iterator[tuple[Sample, PreparedSample]]:
    prepared = chain.from_iterable(iter_prepared(run.samples, _READ))
    return zip(SampleFile(run.samples), prepared, strict=True)


def _targets(prepared: PreparedSample, ends: Collection[int]) -> list[tuple[int, ...]]:
    """The tokens of each target up to its end."""
    pairs = zip(prepared.tokens.input_ids, prepared.tokens.is_target, strict=True)
    runs = groupby(pairs, key=itemgetter(1))
    learnt = ([token for token, _ in run] for is_target, run in runs if is_target)
    return [tuple(takewhile(lambda token: token not in ends, ids)) for ids in learnt]
