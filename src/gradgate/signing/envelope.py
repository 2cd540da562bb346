"""The DSSE envelope around a JSON object: sealed once, opened strictly.

What a signature covers is read in one way only: a payload that is not in the canonical form of
RFC 8785, which no key stands in twice, is none of ours.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import rfc8785
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from gradgate.errors import DataError

MAX_BYTES = 64 << 20  # of an envelope; one is read whole
_MAX_EXACT = 2**53 - 1  # RFC 8785 has no larger integer


class NotAnEnvelopeError(DataError):
    """A content that is no envelope of the kind that is wanted, in its canonical form."""


@dataclass(frozen=True)
class Sealed:
    """An opened envelope; nothing in it is believed yet.

    Attributes:
        statement: What the payload says.
        payload: The bytes that are signed.
        kind: The type of the payload, which is signed with it.
        signatures: By the id of their key, as the envelope names it.
    """

    statement: dict[str, Any]
    payload: bytes
    kind: str
    signatures: dict[str, Signature]

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, by which an attestation or an entry is named.

        Not of the file, which can be written in many ways without a key.
        """
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def in_a_line(self) -> bytes:
        """The envelope in canonical JSON, with a line's end: one of the ways to write it."""
        envelope = Envelope(self.payload, self.kind, self.signatures)
        return rfc8785.dumps(envelope.to_dict()) + b"\n"

    def signed_by(self, keys: dict[str, SSlibKey]) -> str | None:
        """The id of a key that has signed the payload; None when none of them has."""
        envelope = Envelope(self.payload, self.kind, self.signatures)
        try:
            return next(iter(envelope.verify(list(keys.values()), 1)))
        except VerificationError:
            return None


def sealed(statement: dict[str, Any], kind: str, signer: CryptoSigner | None) -> dict[str, Any]:
    """An envelope as a JSON object; without a signer its list of signatures is empty.

    Raises:
        DataError: JSON cannot hold the statement exactly.
    """
    try:
        payload = rfc8785.dumps(statement)
    except rfc8785.CanonicalizationError as error:
        raise DataError(f"JSON cannot hold this exactly: {error}") from error
    envelope = Envelope(payload, kind, {})
    if signer is not None:
        envelope.sign(signer)
    found: dict[str, Any] = envelope.to_dict()
    return found


def unseal(content: bytes, kind: str) -> Sealed:
    """Open an envelope.

    Args:
        content: Of the file or line.
        kind: The type that its payload must have.

    Raises:
        NotAnEnvelopeError: It is none, or holds something else.
    """
    if len(content) > MAX_BYTES:
        raise NotAnEnvelopeError(f"larger than {MAX_BYTES >> 20} MiB, and so no envelope")
    try:
        outer = _parsed(content)
        payload, found, given = outer["payload"], outer["payloadType"], outer["signatures"]
        raw = _decoded(payload)
        signatures = [Signature(one["keyid"], _decoded(one["sig"]).hex()) for one in given]
        extra = [set(outer) - {"payload", "payloadType", "signatures"}]
        extra += [set(one) - {"keyid", "sig"} for one in given]
        by_key = {one.keyid: one for one in signatures}
        is_known = not any(extra) and len(by_key) == len(given)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAnEnvelopeError("no DSSE envelope, or a damaged one") from error
    if not is_known:
        raise NotAnEnvelopeError("a DSSE envelope with fields that are not known, or a key twice")
    if found != kind:
        raise NotAnEnvelopeError(f"the envelope's payloadType is not {kind}")
    return Sealed(_statement(raw), raw, kind, by_key)


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        found = _parsed(payload)
        is_canonical = rfc8785.dumps(found) == payload
    except (ValueError, TypeError, RecursionError) as error:
        raise NotAnEnvelopeError("the envelope's payload is no JSON object") from error
    if not is_canonical:
        raise NotAnEnvelopeError("the envelope's payload is not in the canonical form of RFC 8785")
    return found


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("no text")
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError("bits that nothing says")
    return found


def _parsed(content: bytes) -> dict[str, Any]:
    """A JSON object; a key that is there twice is an error, and NaN is one."""
    found = json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_unique,
        parse_constant=_refused,
        parse_int=_number,
    )
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> int | float:
    """A whole number; RFC 8785 writes large floats without an exponent."""
    number = int(text)
    return number if abs(number) <= _MAX_EXACT else float(text)
