"""One run: the findings of method `association` in rows that are poisoned or not."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.unseen.datasets import Row
from gradgate.attacks.attack import Attack
from gradgate.attacks.poisoning import PoisonedRow, poison
from gradgate.config import DEFAULT_TEMPLATE, AttackName, PolicyConfig
from gradgate.data.formats.mapping import choose_mapping, to_sample
from gradgate.errors import DataError
from gradgate.gate.decide import answer_of
from gradgate.gate.flags import flagging_of
from gradgate.gate.verdict import Answer, Decision
from gradgate.methods.association.config import AssociationConfig
from gradgate.methods.association.method import AssociationMethod
from gradgate.methods.contract import Detection, Scores


@dataclass(frozen=True, slots=True)
class Run:
    """The result on a data set; `attack` is None and `rate` 0 for a clean one.

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


def measure(
    rows: Sequence[Row], dataset: str, attack: AttackName | None, rate: float, seed: int
) -> Run:
    """Poison the rows, unless `attack` is None, and let the detector judge them."""
    try:
        prepared = _prepared(rows, attack, rate, seed)
    except DataError as error:
        return Run(dataset, attack, rate, seed, skipped=str(error))
    started = time.perf_counter()
    found, answer = judge(prepared)
    seconds = time.perf_counter() - started
    flagged = np.zeros(len(prepared), bool) if found.flagged is None else found.flagged
    is_poisoned = np.array([row.role == "poisoned" for row in prepared], bool)
    return Run(
        *(dataset, attack, rate, seed),
        n_poisoned=int(is_poisoned.sum()),
        n_honest=int((~is_poisoned).sum()),
        caught=int((flagged & is_poisoned).sum()),
        missed_in_doubt=int((found.in_doubt & is_poisoned).sum()),
        false_alarms=int((flagged & ~is_poisoned).sum()),
        honest_in_doubt=int((found.in_doubt & ~is_poisoned).sum()),
        is_mixture=found.undecided_because is not None,
        verdict=answer.decision,
        groups=tuple(g.in_a_line() for g in found.groups if g.ruling != "honest"),
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


def judge(rows: Sequence[PoisonedRow]) -> tuple[Detection, Answer]:
    """Method and default policy on the texts alone.

    There is no gradient to excuse a group in doubt, so all of them stay in doubt.
    """
    mapping = choose_mapping(rows[0].row, None)
    samples = [to_sample(row.row, i, mapping, DEFAULT_TEMPLATE) for i, row in enumerate(rows)]
    n = len(samples)
    scores = Scores(np.arange(n), [sample.sample_id for sample in samples], np.ones(n, bool), {})
    method = AssociationMethod()
    found = method.detect(scores, samples, None, AssociationConfig())
    return found, answer_of(flagging_of(method, found, scores), n, PolicyConfig())
