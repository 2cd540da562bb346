"""The envelope around a statement of in-toto, as it lies in a file."""

import json
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from gradgate.errors import DataError
from gradgate.signing.envelope import MAX_BYTES, NotAnEnvelopeError, Sealed, sealed, unseal

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def seal(statement: dict[str, Any], signer: CryptoSigner | None) -> bytes:
    """An envelope as it is written to a file; without a signer its list of signatures is empty.

    Raises:
        DataError: JSON cannot hold the statement exactly.
    """
    return json.dumps(sealed(statement, PAYLOAD_TYPE, signer), indent=2).encode("ascii") + b"\n"


def read_envelope(path: Path) -> Sealed:
    """Open the envelope in a file.

    Raises:
        DataError: It cannot be read; `NotAnEnvelopeError`: it is none, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return unseal(content, PAYLOAD_TYPE)
    except NotAnEnvelopeError as error:
        raise NotAnEnvelopeError(f"{path}: {error}") from error
