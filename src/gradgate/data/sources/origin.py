"""Which bytes a source was: the digest of local files, the commit of a dataset of the hub."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from gradgate.common.files import file_sha256
from gradgate.common.redaction import redacted
from gradgate.errors import DataError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Origin:
    """Where rows came from; whoever finds a source fills it in before a row is read.

    Attributes:
        revision: Commit of a dataset of the hub; None of anything else, or where it is not known.
    """

    revision: str | None = None
    _folder: str | None = None
    _files: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of_folder(self, path: str) -> None:
        """The source is a folder, below which its files have their names."""
        self._folder = path

    def of_files(self, store: Any, paths: list[str]) -> None:
        """The source is these files; those of other machines are not read twice for a digest."""
        if isinstance(store, LocalFileSystem):
            self._files = {path: _state(path) for path in paths}

    def of_hub(self, files: list[str]) -> None:
        """The source is of the hub; `files` are those of its cache.

        `datasets` keeps them in `name/config/version/commit/`.
        """
        found = {Path(file).parent.name for file in files}
        commit = found.pop() if len(found) == 1 else ""
        self.revision = commit if _COMMIT.fullmatch(commit) else None

    def sha256(self) -> str | None:
        """SHA-256 of the source in hex, once all of it was read; None of what is no local file.

        Of a file, of its bytes. Of a folder, of what `sha256sum` says of the files that were read,
        in the order of their names: a line `digest  name` each, the name below the folder.

        Raises:
            DataError: A file was changed since it was found, or cannot be read.
        """
        digests = {path: self._digest(path) for path in sorted(self._files)}
        if self._folder is None:
            return next(iter(digests.values()), None)
        if not digests:
            return None
        names = {os.path.relpath(path, self._folder): digest for path, digest in digests.items()}
        listing = "".join(f"{names[name]}  {name}\n" for name in sorted(names))
        return hashlib.sha256(os.fsencode(listing)).hexdigest()

    def _digest(self, path: str) -> str:
        try:
            found = file_sha256(Path(path))
            is_same = _state(path) == self._files[path]
        except OSError as error:
            raise DataError(f"{redacted(path)} cannot be read: {error.strerror}") from error
        if not is_same:
            raise DataError(
                f"{redacted(path)} was changed while it was read; run again once it stays as it is"
            )
        return found


def _state(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
