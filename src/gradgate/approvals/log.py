"""The log of decisions: lines that are only ever appended, each of which names the one before.

A line is a DSSE envelope in canonical JSON, signed where the gate has a key. The ids of the samples
that an entry covers lie beside the log, in a file that is named by its digest.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import rfc8785
from filelock import FileLock
from pydantic import ConfigDict, ValidationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from gradgate.approvals.record import Action, Entry, GroupEvidence
from gradgate.common.files import sync, written_whole
from gradgate.common.json_values import TooDeepError, parse_json
from gradgate.errors import ConfigError, DataError
from gradgate.methods.evidence import Question
from gradgate.signing.envelope import NotAnEnvelopeError, sealed, unseal

KIND = "application/vnd.gradgate.decision+json"
GENESIS = "0" * 64
_LOCK_TIMEOUT = 60  # seconds
_ID = re.compile(r"[0-9a-f]{64}")

Keys = Mapping[str, SSlibKey]


class BrokenLogError(DataError):
    """The log, or a list beside it, is not as it was written."""


@dataclass(frozen=True)
class Head:
    """Where a log ends.

    Attributes:
        n: Number of its last entry; 0 when there is none.
        sha256: Digest of that entry; zeros when there is none.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    n: int
    sha256: str


@dataclass(frozen=True)
class Draft:
    """A decision that is to be recorded; the fields are those of `Entry`.

    Attributes:
        sample_ids: Of the rows that it covers.
    """

    run: str
    verdict_sha256: str
    by: str
    reason: str
    action: Action
    group: GroupEvidence | None
    rows: str | None
    pattern: bool
    questions: Sequence[Question]
    n_rows: int
    sample_ids: Sequence[str]


@dataclass(frozen=True)
class Log:
    """A log that was read and checked.

    Attributes:
        folder: Where it lies.
        entries: In their order.
        digests: Of each of them.
    """

    folder: Path
    entries: list[Entry]
    digests: list[str]

    @property
    def head(self) -> Head:
        """Where it ends."""
        return Head(len(self.entries), self.digests[-1] if self.digests else GENESIS)

    def samples(self, entry: Entry) -> frozenset[str]:
        """The ids of the samples that an entry covers.

        Raises:
            BrokenLogError: The list is missing, or another one.
        """
        path = _list_path(self.folder, entry.samples_sha256)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BrokenLogError(
                f"the list of rows of entry {entry.number}, {path}, cannot be read: "
                f"{error.strerror}"
            ) from error
        ids = content.decode("ascii", "replace").splitlines()
        is_whole = hashlib.sha256(content).hexdigest() == entry.samples_sha256
        if not is_whole or len(ids) != entry.n_samples or not all(map(_ID.fullmatch, ids)):
            raise BrokenLogError(f"{path} is not the list of rows that entry {entry.number} names")
        return frozenset(ids)


def log_path(folder: Path) -> Path:
    """The file of the log in its folder."""
    return folder / "log.jsonl"


def _list_path(folder: Path, digest: str) -> Path:
    return folder / "rows" / digest


def read_log(folder: Path, keys: Keys) -> Log:
    """Read a log from its beginning to its end, and check every entry.

    That nothing was cut off its end only attestations can tell (`attest.audit`).

    Args:
        folder: Neither it nor the log need be there.
        keys: By which every entry has to be signed; none where the gate has no key.

    Raises:
        BrokenLogError: It was changed, or an entry is not signed by one of the keys.
        ConfigError: An entry is signed, and there is no key to check that by.
    """
    content = _content(log_path(folder))
    if content and not content.endswith(b"\n"):
        raise BrokenLogError(
            f"{log_path(folder)} ends in the middle of an entry: either its writer was killed, and "
            "the next `gradgate approve` takes the rest of it away, or somebody has cut it"
        )
    log = Log(folder, [], [])
    for line in content.splitlines(keepends=True):
        entry, digest = _read_line(line, log.head, keys)
        log.entries.append(entry)
        log.digests.append(digest)
    return log


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DataError(f"the log {path} cannot be read: {error.strerror}") from error


def _read_line(line: bytes, before: Head, keys: Keys) -> tuple[Entry, str]:
    """An entry, which has to follow the one before."""
    number = before.n + 1
    try:
        found = unseal(line.removesuffix(b"\n"), KIND)
        entry = Entry.model_validate_json(found.payload)
        is_own_form = found.in_a_line == line and _payload(entry) == found.payload
    except (NotAnEnvelopeError, ValidationError) as error:
        raise BrokenLogError(f"entry {number} of the log is damaged, or none") from error
    if (entry.number, entry.previous) != (number, before.sha256):
        raise BrokenLogError(f"entry {number} of the log does not follow the one before")
    if not is_own_form:
        raise BrokenLogError(f"entry {number} of the log is not written as entries are")
    if found.signatures and not keys:
        raise ConfigError(
            f"entry {number} of the log is signed, and there is no key to check that by; name the "
            "gate's public key (--key), or to a gate its own (GRADGATE_SIGNING_KEY)"
        )
    if keys and found.signed_by(dict(keys)) is None:
        raise BrokenLogError(
            f"entry {number} of the log is not signed by {', '.join(sorted(keys))}"
        )
    return entry, found.digest


def _payload(entry: Entry) -> bytes:
    return rfc8785.dumps(entry.model_dump(mode="json"))


def append(
    folder: Path, drafts: Sequence[Draft], signer: CryptoSigner | None, keys: Keys
) -> list[tuple[Entry, str]]:
    """Append entries, which are on the disk when this returns; nothing is ever rewritten.

    Args:
        folder: Made when missing.
        drafts: What is recorded, one behind the other. A writer that is killed may leave the first
            of them; `read_log` has them then.
        signer: None: the entries are unsigned.
        keys: By which the log so far is signed, as for `read_log`.

    Returns:
        The entries with their digests.

    Raises:
        DataError: The log so far is broken; errors as for `read_log`.
        ConfigError: It cannot be written.
    """
    path = log_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "log.lock", timeout=_LOCK_TIMEOUT):
            _cut_unfinished(path)
            head = read_log(folder, keys).head
            lines, made = b"", list[tuple[Entry, str]]()
            for draft in drafts:
                entry = _entry(draft, head, _keep_list(folder, draft.sample_ids))
                envelope = sealed(entry.model_dump(mode="json"), KIND, signer)
                head = Head(entry.number, hashlib.sha256(_payload(entry)).hexdigest())
                made.append((entry, head.sha256))
                lines += rfc8785.dumps(envelope) + b"\n"
            _append(path, lines)
    except OSError as error:  # a lock that nobody gives back is one, too
        raise ConfigError(f"the log {path} cannot be written: {error}") from error
    return made


def _entry(draft: Draft, head: Head, samples: tuple[int, str]) -> Entry:
    n_samples, digest = samples
    return Entry(
        number=head.n + 1,
        time=datetime.now(UTC).replace(microsecond=0),
        previous=head.sha256,
        run=draft.run,
        verdict_sha256=draft.verdict_sha256,
        by=draft.by,
        reason=draft.reason,
        action=draft.action,
        group=draft.group,
        rows=draft.rows,
        pattern=draft.pattern,
        questions=list(draft.questions),
        n_rows=draft.n_rows,
        n_samples=n_samples,
        samples_sha256=digest,
    )


def _keep_list(folder: Path, sample_ids: Sequence[str]) -> tuple[int, str]:
    """Write the list of the ids; how many they are, and its digest."""
    ids = sorted(set(sample_ids))
    content = "".join(f"{one}\n" for one in ids).encode("ascii")
    digest = hashlib.sha256(content).hexdigest()
    path = _list_path(folder, digest)
    path.parent.mkdir(exist_ok=True)
    with written_whole(path) as part:
        part.write_bytes(content)
    return len(ids), digest


def _cut_unfinished(path: Path) -> None:
    """Take away what a killed writer has left of an entry, which nobody was told of.

    One that is whole but for the end of its line stays: it may be older, and the end lost since.

    Raises:
        BrokenLogError: The end is nested more deeply than any entry is; it stays.
    """
    content = _content(path)
    if content and not content.endswith(b"\n"):
        whole = content.rfind(b"\n") + 1
        try:
            is_entry = _is_json(content[whole:])
        except TooDeepError as error:
            raise BrokenLogError(
                f"{path} ends in JSON that is nested too deeply, which no writer of entries has "
                "left; find out who has, and take it away"
            ) from error
        with path.open("r+b") as file:
            if is_entry:
                file.seek(0, os.SEEK_END)
                file.write(b"\n")
            else:
                file.truncate(whole)
            os.fsync(file.fileno())


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except TooDeepError:
        raise
    except ValueError:
        return False
    return True


def _append(path: Path, lines: bytes) -> None:
    """Write whole lines or nothing."""
    with path.open("ab") as file:
        size = file.tell()
        try:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)  # a full disk
            raise
    sync(path.parent)
