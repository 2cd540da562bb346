"""The samples that a fine-tuning did not see, as it says itself."""

from pathlib import Path

from gradgate.errors import ModelError
from gradgate.gate.verdict import Verdict
from gradgate.models.settings_file import read_settings

TRAINING_RECORD = "training.json"  # beside what was trained, by this gate
MAX_HELD_OUT = 128  # as many as a test asks by default where the first leave something open


def held_out_rows(tuned: Path, verdict: Verdict) -> frozenset[int]:
    """Numbers of the rows of a gate run that were held out from the training behind it.

    Args:
        tuned: Folder of what was trained.
        verdict: Of a gate run on the data.

    Returns:
        Nothing where the folder says nothing, or where it was trained on other data.

    Raises:
        ValueError: The record is damaged.
        ModelError: It names no rows, or more than this gate holds out: all are read, so that a
            record from elsewhere could ask for any number of them.
    """
    path = tuned / TRAINING_RECORD
    if not path.exists():
        return frozenset()
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
    is_same = before.get("dataset_fingerprint") == verdict.dataset_fingerprint
    return frozenset(rows) if is_same else frozenset()
