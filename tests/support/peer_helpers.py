"""Runs of peers on small data, scored by the demo's model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from flag_helpers import flag

from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import RunFolder
from gradgate.config import ModelConfig
from gradgate.gate.flags import Flagging
from gradgate.methods.contract import ModelAccess
from gradgate.methods.registry import method_named
from gradgate.models.handle import ConfiguredModel
from helpers import MODEL, scored_rows

DEMO = ConfiguredModel(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


@dataclass(frozen=True)
class Outcome:
    """What a peer says of n rows.

    Attributes:
        flagged: Null counts as not flagged. (n,)
        is_known: Whether a row is flagged or not, and not null. (n,)
    """

    flagging: Flagging
    flagged: Marks
    is_known: Marks
    in_doubt: Marks
    suspicion: Floats


def run_of(
    folder: Path, rows: Sequence[Mapping[str, object]], failed: Sequence[int] = ()
) -> RunFolder:
    """Rows with scores."""
    return RunFolder(scored_rows(folder, rows, failed=failed).folder)


def judged_by(name: str, run: RunFolder, **settings: object) -> Outcome:
    """Let a peer judge a run."""
    method = method_named(name)
    section = method.settings.model_validate(settings)
    flagging = flag(run, method, section, model=ModelAccess(DEMO))
    table = pq.read_table(run.flags)
    flagged = table["flagged"].to_pylist()
    return Outcome(
        flagging,
        np.array([mark is True for mark in flagged]),
        np.array([mark is not None for mark in flagged]),
        np.array([mark is True for mark in table["in_doubt"].to_pylist()]),
        table["suspicion"].to_numpy(),
    )
