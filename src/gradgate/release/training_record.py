"""What a fine-tuning by this gate says of itself, beside what was trained."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gradgate.errors import ModelError
from gradgate.gate.verdict import Verdict
from gradgate.models.settings_file import read_settings
from gradgate.tuning.contradictions import MAX_KEPT, Contradictions

TRAINING_RECORD = "training.json"
MAX_HELD_OUT = 128  # as many as a test asks by default where the first leave something open

_CONTRADICTIONS = TypeAdapter(Contradictions)


@dataclass(frozen=True)
class TrainingRecord:
    """What a test takes from it.

    Attributes:
        held_out: Numbers of the rows of the gate run that were held out from the training.
        contradictions: Rows that contradicted what had been learnt; None where nobody watched.
    """

    held_out: frozenset[int] = frozenset()
    contradictions: Contradictions | None = None


NO_RECORD = TrainingRecord()


def read_record(tuned: Path, verdict: Verdict) -> TrainingRecord:
    """Read the record in the folder of what was trained.

    Args:
        tuned: The folder.
        verdict: Of a gate run on the data.

    Returns:
        Nothing where the folder says nothing, or where it was trained on other data.

    Raises:
        ValueError: The record is damaged.
        ModelError: The same; or it names no rows, or more than this gate names: all are read, so
            that a record from elsewhere could ask for any number of them.
    """
    path = tuned / TRAINING_RECORD
    if not path.exists():
        return NO_RECORD
    record = read_settings(path)
    before, rows = record.get("verdict"), record.get("held_out", [])
    if not isinstance(before, dict) or not isinstance(rows, list):
        raise ModelError(f"{path.name} is damaged: it has no verdict, or no list held_out")
    if not all(isinstance(row, int) for row in rows):
        raise ModelError(f"{path.name} is damaged: held_out has what is no number of a row")
    if len(rows) > MAX_HELD_OUT:
        raise ModelError(
            f"{path.name} says that {len(rows):,} rows were held out; at most {MAX_HELD_OUT} are"
        )
    contradictions = _contradictions(record.get("contradictions"), path.name)
    if before.get("dataset_fingerprint") != verdict.dataset_fingerprint:
        return NO_RECORD
    return TrainingRecord(frozenset(rows), contradictions)


def _contradictions(content: Any, name: str) -> Contradictions | None:
    """What a record says of them; None where it was written before anybody watched."""
    if content is None:
        return None
    try:
        found = _CONTRADICTIONS.validate_python(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ModelError(f"{name} is damaged: contradictions.{where} is not as written") from error
    if len(found.rows) > MAX_KEPT or not 0 <= found.n_expected < math.inf:
        raise ModelError(f"{name} is damaged: contradictions has what nobody wrote")
    return found
