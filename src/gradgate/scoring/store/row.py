"""One row of the score store: exact, and bound by a checksum to its sample and context."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from gradgate.scoring.store.record import Record

KEY_BYTES = 32
SEAL_BYTES = 16
_PROBES = "probes_sha256"


@dataclass(frozen=True)
class ScoreContext:
    """All that decides a score besides the sample and the versions of its signals.

    Attributes:
        model_path: For people; decides nothing.
        adapter: The same.
        probes_sha256: Digest of the probing set that scores are held against; None for none, which
            decides nothing, so that such scores are found again by what always decided.
    """

    model_sha256: str
    model_revision: str | None
    adapter_sha256: str | None
    k: int
    dtype: str
    model_path: str
    adapter: str | None
    probes_sha256: str | None = None

    @cached_property
    def deciding(self) -> tuple[str | int | None, ...]:
        """The fields that decide."""
        probes = () if self.probes_sha256 is None else (self.probes_sha256,)
        model = (self.model_sha256, self.model_revision, self.adapter_sha256)
        return (*model, self.k, self.dtype, *probes)

    @property
    def is_probed(self) -> bool:
        """Whether scores are held against a probing set."""
        return self.probes_sha256 is not None

    @property
    def described(self) -> dict[str, str | int | None]:
        """The fields as a file has them: without a probing set, as they always were."""
        fields = asdict(self)
        return fields if self.is_probed else {k: v for k, v in fields.items() if k != _PROBES}

    @cached_property
    def digest(self) -> bytes:
        """sha256 over the deciding fields: 32 bytes."""
        return digest_of(*self.deciding)

    @property
    def id(self) -> int:
        """Stands for the digest in the file; all of it is in the checksum of each row."""
        return id_of(self.digest)


def digest_of(*deciding: str | int | None) -> bytes:
    """sha256 over some fields: 32 bytes."""
    return hashlib.sha256(json.dumps(deciding).encode("ascii")).digest()


def id_of(digest: bytes) -> int:
    """A number that SQLite can hold, for a digest."""
    return int.from_bytes(digest[:8], "big") >> 1


def encode(context: ScoreContext, key: bytes, record: Record) -> bytes:
    """The bytes of a row.

    Raises:
        ValueError: The key is no digest.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key is a digest of {KEY_BYTES} bytes, not {key!r}")
    body = record.pack()
    return body + seal(context.digest, key, body)


def decode(context: ScoreContext, key: bytes, content: object) -> Record | None:
    """The record; None when it is damaged, or of another key or context."""
    body = unsealed(context.digest, key, content)
    return None if body is None else Record.unpacked(body)


def seal(digest: bytes, key: bytes, body: bytes) -> bytes:
    """The checksum of a row of the context with this digest."""
    return hashlib.blake2b(key + body, key=digest, digest_size=SEAL_BYTES).digest()


def unsealed(digest: bytes, key: bytes, content: object) -> bytes | None:
    """The row without its checksum; None when that is wrong."""
    if not (isinstance(key, bytes) and isinstance(content, bytes)) or len(content) <= SEAL_BYTES:
        return None
    body = content[:-SEAL_BYTES]
    return body if content[-SEAL_BYTES:] == seal(digest, key, body) else None
