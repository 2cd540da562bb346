"""What lies in the state folder: gate runs, drills, comparisons, and leftovers of killed ones."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Kind = Literal["gate", "drill", "comparison", "leftover"]
REMOVED = ".removed"  # what a folder ends in while it is deleted
_FOLDERS: dict[Kind, str] = {"gate": "runs", "drill": "drills", "comparison": "comparisons"}


@dataclass(frozen=True)
class Found:
    """A folder, or a file that was left behind.

    Attributes:
        n_bytes: Of all files in it.
        written: When something in it was last written, in UTC.
    """

    kind: Kind
    path: Path
    n_bytes: int
    written: datetime

    @property
    def name(self) -> str:
        """Below the state folder, such as `runs/<flow run id>`."""
        return f"{self.path.parent.name}/{self.path.name}"


def find(state: Path) -> list[Found]:
    """Everything that may be listed, the newest first; what vanishes meanwhile is left out."""
    found = [measured for kind, path in _paths(state) if (measured := _measured(kind, path))]
    return sorted(found, key=lambda one: one.written, reverse=True)


def half_removed(state: Path) -> list[Path]:
    """What a process that was killed had begun to delete."""
    folders = [state / name for name in (*_FOLDERS.values(), "rehearsals", "series", "alignments")]
    return [path for folder in folders for path in sorted(folder.glob(f"*{REMOVED}"))]


def _paths(state: Path) -> Iterator[tuple[Kind, Path]]:
    for kind, name in _FOLDERS.items():
        for path in (state / name).glob("*"):
            if path.is_dir() and path.suffix != REMOVED:
                yield kind, path
    for path in (state / "rehearsals").glob("*"):  # what they found is in files
        if path.suffix in (".part", ".safetensors") or (path.is_dir() and path.suffix != REMOVED):
            yield "leftover", path
    for name in ("series", "alignments"):
        for path in (state / name).glob("*.part"):
            yield "leftover", path


def _measured(kind: Kind, path: Path) -> Found | None:
    try:
        infos = [path.lstat(), *(Path(entry).lstat() for entry in _files(path))]
    except FileNotFoundError:  # a run ends, or a file gets its name
        return None
    newest = max(info.st_mtime for info in infos)
    n_bytes = sum(info.st_size for info in infos[1:] or infos)
    return Found(kind, path, n_bytes, datetime.fromtimestamp(newest, UTC))


def _files(path: Path) -> Iterator[str]:
    """All files below a folder; links are not followed."""
    if path.is_symlink():
        return
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)
