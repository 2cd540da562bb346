"""The lines of docs/attestation.md verify an attestation without gradgate."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attest_helpers import Attested, pairs, public_pem, write_attested
from markdown_helpers import Document

# Nothing of gradgate can be imported; what the lines print is theirs.
BLOCKED = "import sys; sys.modules['gradgate'] = None; "


@pytest.fixture(scope="module")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    rows = [
        {"prompt": row["prompt"], "completion": f"{row['completion']} \u20ac"} for row in pairs()
    ]
    return write_attested(tmp_path_factory.mktemp("attested"), rows)


def lines() -> str:
    (fence,) = [f for f in Document("docs/attestation.md").fences("python") if f.mark == "stranger"]
    return fence.text


def stranger(attestation: Path, key: Path, data: Path) -> subprocess.CompletedProcess[str]:
    code = f"{BLOCKED}exec({lines()!r})"
    arguments = [sys.executable, "-I", "-c", code, str(attestation), str(key), str(data)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def test_they_are_twenty() -> None:
    assert len([line for line in lines().splitlines() if line.strip()]) <= 20


def test_what_holds(attested: Attested) -> None:
    done = stranger(attested.attestation, attested.key, attested.data)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_does_not(attested: Attested, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in reversed(attested.rows)))
    assert "not the accepted rows" in stranger(attested.attestation, attested.key, rows).stderr
    other = tmp_path / "key.pub"
    other.write_bytes(public_pem())
    assert "InvalidSignature" in stranger(attested.attestation, other, attested.data).stderr
    rejected = attested.sealed_with(tmp_path / "a.json", {"decision": "review"}, attested.signer)
    assert "no pass" in stranger(rejected, attested.key, attested.data).stderr
