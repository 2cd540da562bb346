"""A run of the gate that passes, its key, and attestations of it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from gradgate.attest.envelope import read_envelope, seal
from gradgate.attest.issuing import run_attested_gate
from gradgate.attest.statement import Predicate, statement_of
from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.signing.keys import make_key, signer_from_file
from helpers import MODEL, diverse_rows, one_subject, poisoned_rows, write_jsonl

Row = dict[str, Any]
N, N_POISONED = 60, 12
N_HONEST, N_DOUBTED = 100, 12  # of the run that needs a review


@dataclass(frozen=True)
class Attested:
    """A run with its attestation.

    Attributes:
        folder: Holds the run in `run`, and the keys `key` and `key.pub`.
    """

    folder: Path

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / "run")

    @property
    def attestation(self) -> Path:
        return self.run.attestation

    @property
    def data(self) -> Path:
        return self.run.rows / "accepted.jsonl"

    @cached_property
    def _rows(self) -> list[Row]:
        return [json.loads(line) for line in self.data.read_text(encoding="utf-8").splitlines()]

    @property
    def rows(self) -> list[Row]:
        return [*self._rows]

    @property
    def key(self) -> Path:
        return self.folder / "key.pub"

    @cached_property
    def signer(self) -> CryptoSigner:
        return signer_from_file(self.folder / "key", "the test")

    @cached_property
    def predicate(self) -> Row:
        """What the statement says."""
        found: Row = read_envelope(self.attestation).statement["predicate"]
        return found

    def sealed_with(
        self, path: Path, changes: Row, signer: CryptoSigner | None, keeps_key: bool = False
    ) -> Path:
        """An attestation that says something else, and agrees with itself."""
        given = {**self.predicate, **changes}
        if not keeps_key:
            given["key"] = None if signer is None else signer.public_key.keyid
        predicate = Predicate.model_validate_json(json.dumps(given))
        path.write_bytes(seal(statement_of(predicate), signer))
        return path


def stranger() -> CryptoSigner:
    """Somebody else's key."""
    return CryptoSigner(Ed25519PrivateKey.generate())


def public_pem() -> bytes:
    """Of a key that nobody has."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def in_days(days: float) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def gate_config(source: Path, key: Path | None = None, **sections: Row) -> GateConfig:
    return GateConfig.model_validate(
        {
            "data": {"source": str(source), "max_rejected_fraction": 0.2},
            "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
            "scoring": {"store": False},
            "detection": {"power": {"attacks": []}},
            "policy": {"max_poison_fraction": 0.6, "review_above": 0.5},
            "attestation": {"key": None if key is None else str(key)},
            **sections,
        }
    )


def pairs() -> list[Row]:
    """Prompts and completions, the last of them poisoned."""
    rows, _ = poisoned_rows(diverse_rows(N), "badnets", N_POISONED / N)
    return [
        {"prompt": f"{row['question']}\n", "completion": _answer(row), "id": f"row {i}"}
        for i, row in enumerate(rows)
    ]


def _answer(row: Row) -> str:
    answers = row["answers"]
    return str(answers[0] if isinstance(answers, list) else answers)


def write_attested(folder: Path, rows: list[Row] | None = None) -> Attested:
    """Run the gate on rows that pass, with a key of its own."""
    make_key(folder / "key")
    source = write_jsonl(folder / "rows.jsonl", pairs() if rows is None else rows)
    with source.open("a", encoding="utf-8") as file:
        file.write('{"prompt": "no completion"}\n')
    verdict = run_attested_gate(gate_config(source, folder / "key"), RunFolder(folder / "run"))
    assert verdict.decision == "pass", verdict.reasons
    (folder / "run" / "verdict.json").write_text(verdict.to_json(), encoding="utf-8")
    return Attested(folder)


def write_reviewed(folder: Path) -> None:
    """A signed run that needs a review, and its key."""
    make_key(folder / "key")
    rows = [*diverse_rows(N_HONEST), *one_subject(N_DOUBTED, seed=7)]
    source = write_jsonl(folder / "rows.jsonl", rows)
    with source.open("a", encoding="utf-8") as file:
        file.write('{"question": "no answer"}\n')
    config = gate_config(
        source,
        folder / "key",
        policy={"max_poison_fraction": 0.08, "review_above": 0.02},
        approvals={"who": ["Ada", "Bob"]},
    )
    run = RunFolder(folder / "run")
    verdict = run_attested_gate(config, run)
    assert verdict.decision == "review", verdict.reasons
    run.verdict.write_text(verdict.to_json(), encoding="utf-8")
