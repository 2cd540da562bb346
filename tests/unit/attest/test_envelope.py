"""An envelope is opened in one way only."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from attest_helpers import Attested, stranger

from gradgate.attest.envelope import PAYLOAD_TYPE, read_envelope, seal
from gradgate.errors import DataError
from gradgate.signing.envelope import MAX_BYTES, NotAnEnvelopeError, unseal


def encoded(content: bytes, **changes: object) -> bytes:
    kind = "application/vnd.in-toto+json"
    plain = {"payload": base64.b64encode(content).decode(), "payloadType": kind, "signatures": []}
    return json.dumps({**plain, **changes}).encode()


def test_what_is_sealed_is_what_is_read() -> None:
    signer = stranger()
    statement: dict[str, Any] = {"b": [1, 2.5, 1e300, 1e17, -0.0, None, "\u20ac\n"], "a": {}}
    found = unseal(seal(statement, signer), PAYLOAD_TYPE)
    assert found.statement == statement
    assert found.payload.startswith(b'{"a":{},"b":[1,2.5,1e+300,100000000000000000,0,')
    assert found.signed_by({signer.public_key.keyid: signer.public_key}) == signer.public_key.keyid
    other = stranger().public_key
    assert found.signed_by({other.keyid: other}) is None


def test_an_unsigned_one_has_no_signatures() -> None:
    found = unseal(seal({"a": 1}, None), PAYLOAD_TYPE)
    assert found.signatures == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"payload": "e30=", "payloadType": "application/vnd.in-toto+json"}',
        encoded(b"{}", signatures=[{"keyid": "a", "sig": "!"}]),
        encoded(b"{}", signatures=[{"keyid": "a"}]),
        encoded(b"{}", signatures=[{"keyid": ["a"], "sig": "aa=="}]),
        encoded(b"{}", signatures=["a"]),
        encoded(b"{}", signatures=[{"keyid": "a", "sig": "YQ=="}] * 2),
        encoded(b"{}", signatures=[{"keyid": "a", "sig": "YQ==", "x": 1}]),
        encoded(b"{}", more=1),
        encoded(b"{}", payload="e31="),  # bits that nothing says
        encoded(b"{}", payload="e 30="),
        encoded(b"{}", payload=7),
        encoded(b"{}").replace(b'"payload":', b'"payload": "e30=", "payload":'),
        encoded(b"{}", payloadType="application/json"),
        encoded(b"{ }"),
        encoded(b'{"a":1,"a":1}'),
        encoded(b'{"b":1,"a":1}'),
        encoded(b'{"a":NaN}'),
        encoded(b'{"a":1.0}'),
        encoded(b"[]"),
        encoded(b'"\xff"'),
        encoded(b'{"a":"\\ud800"}'),
    ],
)
def test_anything_else_is_none(content: bytes) -> None:
    with pytest.raises(NotAnEnvelopeError):
        unseal(content, PAYLOAD_TYPE)


def test_files(attested: Attested, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_envelope(tmp_path / "nothing")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(NotAnEnvelopeError, match="larger than 64 MiB"):
        read_envelope(large)


def test_the_digest_is_of_the_statement_and_not_of_how_it_is_written(attested: Attested) -> None:
    content = json.loads(attested.attestation.read_bytes())
    found = read_envelope(attested.attestation)
    again = unseal(json.dumps(content).encode(), PAYLOAD_TYPE)
    assert found.digest == again.digest
