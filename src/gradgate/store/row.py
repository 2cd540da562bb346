"""One row of the score store: exact, and bound by a checksum to its sample and context."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from functools import cached_property

from gradgate.scoring.table import Score

_STATUS = ("scored", "failed")  # by position in the record
_HEAD = struct.Struct("<BBqddd")  # status, which values are there, tokens, entropy, loss, norm
_SEAL_BYTES = 16


@dataclass(frozen=True)
class ScoreContext:
    """All that decides a score besides the sample.

    Attributes:
        maths: Version of the computation.
        model_path: For people; decides nothing.
        adapter: The same.
    """

    model_sha256: str
    model_revision: str | None
    adapter_sha256: str | None
    mode: str
    k: int
    dtype: str
    maths: int
    model_path: str
    adapter: str | None

    @cached_property
    def digest(self) -> bytes:
        """sha256 over the deciding fields: 32 bytes."""
        deciding = [
            self.model_sha256, self.model_revision, self.adapter_sha256,
            self.mode, self.k, self.dtype, self.maths,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(deciding).encode("ascii")).digest()

    @property
    def id(self) -> int:
        """Stands for the digest in the file; all of it is in the checksum of each row."""
        return int.from_bytes(self.digest[:8], "big") >> 1


def encode(context: ScoreContext, key: bytes, score: Score) -> bytes:
    """The record of a row.

    Raises:
        ValueError: The key is no digest, or the score has the status `scored` and lacks a finite
            value.
    """
    values = (score.spectral_entropy, score.loss, score.gradient_norm)
    if score.status == "scored" and not all(v is not None and math.isfinite(v) for v in values):
        raise ValueError(f"a scored sample has three finite values, not {score}")
    if len(key) != hashlib.sha256().digest_size:
        raise ValueError(f"a key is a digest of 32 bytes, not {key!r}")
    there = sum((v is not None) << bit for bit, v in enumerate((*values, score.reason)))
    numbers = (0.0 if v is None else v for v in values)
    body = _HEAD.pack(_STATUS.index(score.status), there, score.n_target_tokens, *numbers)
    body += (score.reason or "").encode("utf-8", "surrogatepass")
    return body + _seal(context, key, body)


def decode(context: ScoreContext, key: bytes, record: object) -> Score | None:
    """The score; None when the record is damaged, or of another key or context."""
    if not isinstance(record, bytes) or len(record) < _HEAD.size + _SEAL_BYTES:
        return None
    body = record[:-_SEAL_BYTES]
    if record[-_SEAL_BYTES:] != _seal(context, key, body):
        return None
    status, there, n_target_tokens, entropy, loss, norm = _HEAD.unpack_from(body)
    return Score(
        spectral_entropy=entropy if there & 1 else None,
        n_target_tokens=n_target_tokens,
        loss=loss if there & 2 else None,
        gradient_norm=norm if there & 4 else None,
        status=_STATUS[status],
        reason=body[_HEAD.size :].decode("utf-8", "surrogatepass") if there & 8 else None,
    )


def _seal(context: ScoreContext, key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(key + body, key=context.digest, digest_size=_SEAL_BYTES).digest()
