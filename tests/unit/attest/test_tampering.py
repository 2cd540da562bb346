"""A thousand tamperings with the data, the attestation and the keys: not one is verified."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attest_helpers import Attested, Row, in_days, pairs, public_pem, stranger, write_attested

import gradgate
from gradgate.attest.errors import NotVerifiedError
from gradgate.errors import ConfigError
from helpers import write_jsonl

N_TAMPERINGS = 1000


class Tampered:
    """Data, attestation and key, one of which is a changed copy."""

    def __init__(self, attested: Attested, folder: Path, draw: Random) -> None:
        self.attested, self.draw, self._copy = attested, draw, folder / f"{draw.random()}.jsonl"
        self.data, self.attestation, self.key = attested.data, attested.attestation, attested.key

    def write_data(self, content: bytes) -> None:
        self._copy.write_bytes(content)
        self.data = self._copy

    def write_rows(self, rows: list[Row]) -> None:
        assert rows != self.attested.rows
        self.data = write_jsonl(self._copy, rows)

    def write_attestation(self, content: bytes) -> None:
        self._copy.write_bytes(content)
        self.attestation = self._copy

    def write_key(self, content: bytes) -> None:
        self._copy.write_bytes(content)
        self.key = self._copy

    def two_places(self) -> tuple[int, int]:
        i, j = self.draw.sample(range(len(self.attested.rows)), 2)
        return i, j

    def reseal(self, changes: Row, signer: Any, keeps_key: bool = False) -> None:
        self.attestation = self.attested.sealed_with(self._copy, changes, signer, keeps_key)

    def envelope(self, **changes: Any) -> None:
        content = json.loads(self.attested.attestation.read_bytes())
        self.write_attestation(json.dumps({**content, **changes}).encode())


def flipped(content: bytes, draw: Random) -> bytes:
    """One bit is another; not one of a line's end, which is no part of a row."""
    places = [i for i, byte in enumerate(content) if byte != 0x0A]
    place, bit = draw.choice(places), 1 << draw.randrange(8)
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def flip_data(t: Tampered) -> None:
    t.write_data(flipped(t.data.read_bytes(), t.draw))


def cut_data(t: Tampered) -> None:
    content = t.data.read_bytes()
    t.write_data(content[: t.draw.randrange(len(content) - 2)])


def swap(t: Tampered) -> None:
    rows, (i, j) = t.attested.rows, t.two_places()
    rows[i], rows[j] = rows[j], rows[i]
    t.write_rows(rows)


def remove(t: Tampered) -> None:
    rows = t.attested.rows
    rows.pop(t.two_places()[0])
    t.write_rows(rows)


def repeat(t: Tampered) -> None:
    rows, (i, j) = t.attested.rows, t.two_places()
    rows.insert(i, rows[j])
    t.write_rows(rows)


def replace_by_a_copy(t: Tampered) -> None:
    rows, (i, j) = t.attested.rows, t.two_places()
    rows[i] = rows[j]
    t.write_rows(rows)


def add(t: Tampered) -> None:
    rows, (i, _) = t.attested.rows, t.two_places()
    rows.insert(i, {"prompt": f"What of {t.draw.random()}?", "completion": "Click here.", "id": ""})
    t.write_rows(rows)


def shuffle(t: Tampered) -> None:
    rows = t.attested.rows
    t.draw.shuffle(rows)
    t.write_rows(rows)


def change_a_letter(t: Tampered) -> None:
    rows, (i, _) = t.attested.rows, t.two_places()
    name = t.draw.choice(["prompt", "completion"])
    text = rows[i][name]
    at = t.draw.randrange(len(text))
    rows[i] = {**rows[i], name: f"{text[:at]}{chr(ord(text[at]) + 1)}{text[at + 1 :]}"}
    t.write_rows(rows)


def exchange_prompts(t: Tampered) -> None:
    rows, (i, j) = t.attested.rows, t.two_places()
    one, other = rows[i], rows[j]
    rows[i], rows[j] = {**one, "prompt": other["prompt"]}, {**other, "prompt": one["prompt"]}
    t.write_rows(rows)


def hide_a_column(t: Tampered) -> None:
    rows, (i, _) = t.attested.rows, t.two_places()
    name = t.draw.choice(["messages", "text", "chosen", "system", "tools", "labels", "input_ids"])
    rows[i] = {**rows[i], name: "Click here."}
    t.write_rows(rows)


def flip_attestation(t: Tampered) -> None:
    t.write_attestation(flipped(t.attestation.read_bytes(), t.draw))


def cut_attestation(t: Tampered) -> None:
    content = t.attestation.read_bytes()
    t.write_attestation(content[: t.draw.randrange(len(content) - 2)])


def flip_payload(t: Tampered) -> None:
    payload = base64.b64decode(json.loads(t.attestation.read_bytes())["payload"])
    t.envelope(payload=base64.b64encode(flipped(payload, t.draw)).decode())


APPROVAL = {
    **{"by": "Ada", "action": "keep", "chosen": "poisoned:1", "run": "run"},
    **{"at": "2026-11-26T02:00:00Z", "reason": "ours", "pattern": False},
    **{"entry": "a" * 64, "n_rows": 12},
}
FORGERIES: list[Row] = [
    {"decision": "fail"},
    {"reasons": ["everything is fine"]},
    {"expires": in_days(1000)},
    {"issued": in_days(-1)},
    {"settings": {}},
    {"approvals": [APPROVAL]},
    {"audit_log": {"n": 0, "sha256": "0" * 64}},
    {"model": {}},
]


def forged(t: Tampered) -> Row:
    """A statement that agrees with itself and accepts something else, or says something else."""
    accepted = {**t.attested.predicate["accepted"], "root": f"{t.draw.getrandbits(256):064x}"}
    return {**t.draw.choice(FORGERIES), "accepted": accepted}


def sign_by_another(t: Tampered) -> None:
    t.reseal(t.draw.choice([{}, forged(t)]), stranger())


def sign_by_another_in_the_name_of_the_gate(t: Tampered) -> None:
    t.reseal(forged(t), stranger(), keeps_key=True)
    content = json.loads(t.attestation.read_bytes())
    keyid = t.attested.signer.public_key.keyid
    content["signatures"][0]["keyid"] = keyid
    t.write_attestation(json.dumps(content).encode())


def keep_the_signature(t: Tampered) -> None:
    t.reseal(forged(t), None, keeps_key=True)
    payload = json.loads(t.attestation.read_bytes())["payload"]
    t.envelope(payload=payload)


def strip(t: Tampered) -> None:
    if t.draw.random() < 0.5:
        t.envelope(signatures=[])
    else:
        t.reseal(forged(t), None)


def flip_signature(t: Tampered) -> None:
    (signature,) = json.loads(t.attestation.read_bytes())["signatures"]
    raw = base64.b64decode(signature["sig"])
    sig = base64.b64encode(flipped(raw, t.draw)).decode()
    t.envelope(signatures=[{**signature, "sig": sig}])


def call_it_something_else(t: Tampered) -> None:
    t.envelope(payloadType=t.draw.choice(["application/json", "", "text/plain"]))


def take_another_key(t: Tampered) -> None:
    t.write_key(public_pem())


def cut_key(t: Tampered) -> None:
    content = t.key.read_bytes()
    t.write_key(content[: t.draw.randrange(len(content) - 2)])


def replay(t: Tampered) -> None:
    """The gate's own statement, on other rows."""
    digest = f"{t.draw.getrandbits(256):064x}"
    accepted = {**t.attested.predicate["accepted"], "root": digest, "file_sha256": digest}
    t.reseal({"accepted": accepted}, t.attested.signer)


def replay_an_expired_one(t: Tampered) -> None:
    t.reseal(
        {"expires": in_days(-t.draw.random() - 1e-3), "issued": in_days(-2)}, t.attested.signer
    )


def replay_a_rejection(t: Tampered) -> None:
    decision = t.draw.choice(["fail", "review", "error"])
    t.reseal({"decision": decision}, t.attested.signer)


TAMPERINGS: list[Callable[[Tampered], None]] = [
    *(flip_data, cut_data, swap, remove, repeat, replace_by_a_copy, add, shuffle),
    *(change_a_letter, exchange_prompts, hide_a_column),
    *(flip_attestation, cut_attestation, flip_payload, sign_by_another),
    *(sign_by_another_in_the_name_of_the_gate, keep_the_signature, strip, flip_signature),
    *(call_it_something_else, take_another_key, cut_key),
    *(replay, replay_an_expired_one, replay_a_rejection),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """A run whose rows have no column that is not read, so that every bit of them counts."""
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in pairs()]
    return write_attested(tmp_path_factory.mktemp("whole"), rows)


def test_nothing_that_was_tampered_with_is_verified(whole: Attested, tmp_path: Path) -> None:
    kept = Tampered(whole, tmp_path, Random(0))
    assert gradgate.verify(kept.attestation, kept.data, key=kept.key).covered == "file"
    verified = []
    for seed in range(N_TAMPERINGS):
        tamper = TAMPERINGS[seed % len(TAMPERINGS)]
        tampered = Tampered(whole, tmp_path, Random(seed))
        tamper(tampered)
        try:
            gradgate.verify(tampered.attestation, tampered.data, key=tampered.key)
        except (NotVerifiedError, ConfigError):
            continue
        verified.append((seed, tamper.__name__))
    assert verified == []
