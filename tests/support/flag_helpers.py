"""One method asked alone, as most tests of flags do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradgate.common.run_folder import RunFolder
from gradgate.config import AttackName, ModelConfig, PolicyConfig, ScoringConfig, Section
from gradgate.data.prepare import Prepared
from gradgate.gate.flags import DEFAULT_POLICY, Asked, Flagging
from gradgate.gate.flags import flag as flag_by_all
from gradgate.methods.contract import Method, ModelAccess
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.models.handle import ConfiguredModel
from gradgate.scoring.likelihood import Likelihood
from helpers import MODEL, diverse_rows, poisoned_rows, scored_rows

DEMO_MODEL = ConfiguredModel(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


def flag(
    run: RunFolder,
    method: Method[Any],
    settings: Section,
    reference: Path | None = None,
    policy: PolicyConfig = DEFAULT_POLICY,
    model: ModelAccess | None = None,
) -> Flagging:
    """What a method says of a scored data set; the tables are written."""
    (found,) = flag_by_all(run, [Asked(method, settings, reference, model)], policy)
    return found


def judged_by_default(prepared: Prepared) -> Flagging:
    """What method recurrence says of scored rows."""
    ask = Likelihood(DEMO_MODEL, ScoringConfig(), None)
    run, method = RunFolder(prepared.folder), RecurrenceMethod()
    return flag(run, method, method.settings(), model=ModelAccess(DEMO_MODEL, ask))


@dataclass(frozen=True)
class Poisoned:
    """Poisoned rows that method recurrence has judged once; whoever looks writes nothing."""

    prepared: Prepared
    numbers: list[int]
    flagging: Flagging

    @property
    def folder(self) -> Path:
        return self.prepared.folder


def poisoned_in(folder: Path, n: int, attack: AttackName, rate: float) -> Poisoned:
    rows, numbers = poisoned_rows(diverse_rows(n), attack, rate)
    prepared = scored_rows(folder, rows)
    return Poisoned(prepared, numbers, judged_by_default(prepared))
