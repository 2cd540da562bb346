"""The series of runs of one gate, and a pointer to the last run of it that decided.

A series is what `tracking.gate` names, or else a dataset (source, name and split), a model and its
adapter by their paths; and an experiment. Revisions, digests and settings are not part of it: that
they changed is what a comparison with the last run is to show.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from gradgate.common.files import written_whole
from gradgate.common.json_values import parse_json
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Decision


@dataclass(frozen=True)
class Series:
    """What two runs have in common when one is the other's predecessor.

    Local paths are absolute; of URLs the credentials and the query, which may be another one every
    night, are left out. With the name of a gate there is nothing else but the experiment.
    """

    experiment: str
    gate: str | None = None
    source: str | None = None
    name: str | None = None
    split: str | None = None
    model: str | None = None
    adapter: str | None = None

    def pointer(self, state: Path) -> Path:
        """The file in the state folder that names the last run."""
        known = asdict(self)
        if self.gate is None:
            del known["gate"]  # as before gates had names
        content = json.dumps(known, sort_keys=True)
        return state / "series" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"


def series_of(config: GateConfig) -> Series:
    """The series that a run with this configuration belongs to."""
    data, model, tracking = config.data, config.model, config.tracking
    if tracking.gate is not None:
        return Series(tracking.experiment, tracking.gate)
    return Series(
        source=_place(data.source),
        name=data.name,
        split=data.split,
        model=_place(model.path),
        adapter=None if model.adapter is None else _place(model.adapter),
        experiment=tracking.experiment,
    )


def last_run(series: Series, state: Path) -> str | None:
    """Name of the folder of the last run that decided; None when there was none.

    Raises:
        DataError: The pointer cannot be read.
    """
    pointer = series.pointer(state)
    try:
        name = parse_json(pointer.read_text(encoding="utf-8"))["run"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{pointer} does not name a run: {error}") from error
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise DataError(f"{pointer} does not name a run: {name!r}")
    return name


def remember(series: Series, state: Path, run_folder: Path, decision: Decision) -> None:
    """Make a finished run the last one of its series, if it scored the samples and decided."""
    if decision == "error" or not RunFolder(run_folder).flags.exists():
        return
    pointer = series.pointer(state)
    pointer.parent.mkdir(exist_ok=True)
    content = {"run": run_folder.name, **asdict(series)}
    # Several runs of a gate may end at the same time.
    own = pointer.with_name(f"{pointer.stem}.{run_folder.name}.part")
    with written_whole(pointer, own) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _place(source: str) -> str:
    return redacted(os.path.abspath(source) if os.path.exists(source) else source)
