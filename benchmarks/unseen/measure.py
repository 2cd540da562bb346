"""One run: rows, poisoned or not, held against what the text detector finds in them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.unseen.datasets import Row
from gradgate.attacks.attack import Attack, AttackName
from gradgate.attacks.poisoning import PoisonedRow, poison
from gradgate.config import DEFAULT_TEMPLATE, PolicyConfig
from gradgate.detection import MOST_BACKDOORS, prompt_and_target
from gradgate.errors import DataError
from gradgate.evidence.finding import Findings, Found, find
from gradgate.evidence.group import Ruling
from gradgate.samples import choose_mapping, to_sample
from gradgate.verdict import Decision, rule_on_count

Marks: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """What the detector made of a data set; `attack` is None and `rate` 0 for a clean one.

    Attributes:
        n_honest: Rows that are not poisoned; CBA's negatives are among them.
        caught: Poisoned rows that were flagged.
        missed_in_doubt: Poisoned rows that were in doubt instead.
        false_alarms: Honest rows that were flagged.
        honest_in_doubt: Honest rows in doubt.
        is_mixture: Whether so many groups looked like backdoors that nothing was flagged.
        groups: Those that are not honest, in words.
        skipped: Why there is no such run; everything else is then 0 or None.
    """

    dataset: str
    attack: AttackName | None
    rate: float
    seed: int
    n_poisoned: int = 0
    n_honest: int = 0
    caught: int = 0
    missed_in_doubt: int = 0
    false_alarms: int = 0
    honest_in_doubt: int = 0
    is_mixture: bool = False
    verdict: Decision | None = None
    groups: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: str | None = None

    @property
    def recall(self) -> float:
        """Flagged part of the poisoned rows; there must be some."""
        return self.caught / self.n_poisoned

    @property
    def false_positive_rate(self) -> float:
        """Flagged part of the honest rows; there must be some."""
        return self.false_alarms / self.n_honest


@dataclass(frozen=True)
class Ruled:
    """Groups taken to the rows, which are flagged, in doubt or neither: both (n,)."""

    flagged: Marks
    in_doubt: Marks
    is_mixture: bool

    @property
    def verdict(self) -> Decision:
        """By the default policy; what looks like a mixture of tasks is never passed or failed."""
        if self.is_mixture:
            return "review"
        counts = int(self.flagged.sum()), int(self.flagged.size)
        return rule_on_count(*counts, PolicyConfig(), int(self.in_doubt.sum()))[0]


def measure(
    rows: Sequence[Row], dataset: str, attack: AttackName | None, rate: float, seed: int
) -> Run:
    """Poison the rows, unless `attack` is None, and let the detector judge them."""
    try:
        prepared = _prepared(rows, attack, rate, seed)
    except DataError as error:
        return Run(dataset, attack, rate, seed, skipped=str(error))
    started = time.perf_counter()
    findings, sample = _found(prepared)
    ruled = to_rows([(group.ruling, group.members) for group in findings.groups], sample)
    seconds = time.perf_counter() - started
    is_poisoned = np.array([row.role == "poisoned" for row in prepared], bool)
    return Run(
        *(dataset, attack, rate, seed),
        n_poisoned=int(is_poisoned.sum()),
        n_honest=int((~is_poisoned).sum()),
        caught=int((ruled.flagged & is_poisoned).sum()),
        missed_in_doubt=int((ruled.in_doubt & is_poisoned).sum()),
        false_alarms=int((ruled.flagged & ~is_poisoned).sum()),
        honest_in_doubt=int((ruled.in_doubt & ~is_poisoned).sum()),
        is_mixture=ruled.is_mixture,
        verdict=ruled.verdict,
        groups=tuple(in_words(findings, g) for g in findings.groups if g.ruling != "honest"),
        seconds=seconds,
    )


def _prepared(
    rows: Sequence[Row], attack: AttackName | None, rate: float, seed: int
) -> list[PoisonedRow]:
    """The rows and the truth about them.

    Raises:
        DataError: The attack cannot be carried out at this rate, or poisons not a single row.
    """
    if attack is None:
        return [PoisonedRow(dict(row), i, "clean") for i, row in enumerate(rows)]
    if round(rate * len(rows)) == 0:
        raise DataError(f"{rate:.1%} of {len(rows)} rows is not a single one")
    return poison(rows, choose_mapping(rows[0], None), Attack(attack), rate, seed)


def _found(rows: Sequence[PoisonedRow]) -> tuple[Findings, Ints]:
    """Search the distinct samples; the number of the sample of each row goes with it: (n,)."""
    mapping = choose_mapping(rows[0].row, None)
    samples = [to_sample(row.row, i, mapping, DEFAULT_TEMPLATE) for i, row in enumerate(rows)]
    numbers: dict[str, int] = {}
    texts: list[tuple[str, str]] = []
    for sample in samples:
        if sample.sample_id not in numbers:
            numbers[sample.sample_id] = len(texts)
            texts.append(prompt_and_target(sample))
    found = find([prompt for prompt, _ in texts], [target for _, target in texts])
    return found, np.array([numbers[sample.sample_id] for sample in samples], np.int64)


def to_rows(groups: Iterable[tuple[Ruling, Marks]], sample: Ints) -> Ruled:
    """Take rulings over distinct samples to rows, as `gradgate.detection` does without gradients.

    There is nothing that could bear a group in doubt out, and so all of them stay in doubt. Of more
    poison groups than `MOST_BACKDOORS` nothing is flagged, and all is in doubt.

    Args:
        groups: Ruling and members of each; the members have shape (n_samples,).
        sample: Number of the distinct sample of each row. (n,)
    """
    n_samples = int(sample.max()) + 1
    flagged, in_doubt = np.zeros(n_samples, bool), np.zeros(n_samples, bool)
    n_backdoors = 0
    for ruling, members in groups:
        if ruling == "poison":
            n_backdoors += 1
            flagged |= members
        elif ruling == "review":
            in_doubt |= members
    is_mixture = n_backdoors > MOST_BACKDOORS
    if is_mixture:
        flagged, in_doubt = np.zeros_like(flagged), in_doubt | flagged
    return Ruled(flagged[sample], (in_doubt & ~flagged)[sample], is_mixture)


def in_words(findings: Findings, group: Found) -> str:
    """A group in one line: its target spans, its cues, and what was ruled by."""
    corpus, match, found = findings.corpus, group.match, group.association
    spans = [corpus.spans.names[span] for span in group.spans[:4]]
    cues = [corpus.cues.names[cue] for cue in match.rule.features[:6]]
    return (
        f"{group.ruling}: {spans} <- {match.rule.kind} {cues}, n {int(group.members.sum())}, "
        f"{found.n_both} of {found.n_span} and {found.n_cue}, "
        f"own content {group.character.own_content:.2f}"
    )
