"""The folder that workers share: on a disk, on NFS, or in an object store.

Nothing in it is ever changed. A file is built elsewhere and gets its name when it is whole: by a
rename on a disk, by one upload in a store. So nobody has to lock anything.
"""

import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gradgate.common.files import written_whole
from gradgate.common.redaction import redacted
from gradgate.data.sources.source_errors import is_of_a_store, is_transient, missing_package
from gradgate.errors import ConfigError, GradgateError, StoreError, TransientError

PLAN, UNITS, ROWS, PROBES = "plan.json", "units.parquet", "rows.parquet", "probes.json"
REJECTED, SCORES = "rejected.parquet", "scores.parquet"
DRAFTS, WORK, PARTS, SEGMENTS = "drafts", "work", "parts", "segments"  # folders
_BUILDING = "building"


class ShardFolder:
    """Files below an address, by their names."""

    def __init__(self, address: str | Path) -> None:
        """Take a path or a URL of fsspec; nothing need be there.

        A URL must not hold credentials: workers, and people, get it as it is.

        Raises:
            ConfigError: Of an unknown protocol, or a package for it is missing.
        """
        self.address = str(address).rstrip("/")
        if redacted(self.address) != self.address:
            raise ConfigError(
                "the URL of a folder of shards must hold neither credentials nor a query; put them "
                f"into the environment or fsspec's configuration: {redacted(self.address)}"
            )
        try:
            self._fs, root = fsspec.core.url_to_fs(str(address))
        except ImportError as error:
            raise ConfigError(str(missing_package(error, str(address)))) from error
        except ValueError as error:
            raise ConfigError(f"the folder of shards {self.address}: {error}") from error
        self._root = root.rstrip("/")

    @property
    def local(self) -> Path | None:
        """Where it lies, on a disk."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def shown(self, name: str) -> str:
        """A file as messages name it."""
        return f"{self.address}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Names of the files in it, or in a folder of it, sorted; of nothing, none.

        Raises:
            StoreError: It cannot be read.
            TransientError: The store does not answer.
        """
        with self._errors(folder, "listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(folder).rstrip("/"), detail=True)
            except FileNotFoundError:
                return []
        names = (str(one["name"]).rpartition("/")[2] for one in found if one["type"] == "file")
        return sorted(name for name in names if name)

    def has(self, name: str) -> bool:
        """Whether a file is there; errors as for `names`."""
        with self._errors(name, "looked up"):
            self._fs.invalidate_cache()
            return bool(self._fs.isfile(self._path(name)))

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """A file to read from, at any place; errors as for `names`."""
        with self._errors(name, "read"), self._fs.open(self._path(name), "rb") as file:
            yield file

    def read(self, name: str) -> bytes:
        """The content of a small file; errors as for `names`."""
        with self.opened(name) as file:
            return bytes(file.read())

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """A path on this machine to write to; the file gets its name when the block ends well.

        Raises:
            StoreError: It cannot be written.
            TransientError: The store does not answer.
        """
        unique = f"{name.replace('/', '-')}.{secrets.token_hex(8)}"
        with self._errors(name, "written"):
            if self.local is not None:
                path, building = self.local / name, self.local / _BUILDING
                for folder in (path.parent, building):
                    folder.mkdir(parents=True, exist_ok=True)
                with written_whole(path, building / unique) as part:
                    yield part
                return
            with tempfile.TemporaryDirectory() as scratch:
                part = Path(scratch) / unique
                yield part
                self._fs.put_file(str(part), self._path(name))

    def put(self, name: str, content: bytes) -> None:
        """Write a small file; errors as for `written`."""
        with self.written(name) as part:
            part.write_bytes(content)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; that one is gone already is as well. Errors as for `names`."""
        for name in names:
            with self._errors(name, "deleted"):
                try:
                    self._fs.rm_file(self._path(name))
                except FileNotFoundError:
                    continue

    def clear(self) -> None:
        """Delete all of it; errors as for `names`."""
        with self._errors("", "deleted"):
            self._fs.invalidate_cache()
            if self._fs.exists(self._root):
                self._fs.rm(self._root, recursive=True)

    def clear_leftovers(self) -> None:
        """Delete what killed workers have left; call it when every shard is published."""
        for where in (_BUILDING, PARTS, DRAFTS):
            self.remove(f"{where}/{name}" for name in self.names(where))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self, name: str, done: str) -> Iterator[None]:
        try:
            yield
        except GradgateError:
            raise
        except ImportError as error:
            raise ConfigError(str(missing_package(error, self.address))) from error
        except Exception as error:
            if not isinstance(error, OSError) and not is_of_a_store(error):
                raise
            why = redacted(" ".join(str(error).split()))
            kind = TransientError if is_transient(error) else StoreError
            raise kind(f"{self.shown(name)} cannot be {done}: {why}") from error
