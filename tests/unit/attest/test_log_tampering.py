"""Three hundred tamperings with the log, its lists of rows and the attestations: none holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from approval_helpers import draft, evidence, id_of, said
from attest_helpers import Attested, stranger
from securesystemslib.signer import CryptoSigner

from gradgate.approvals.log import Log, log_path, read_log
from gradgate.approvals.record import Entry
from gradgate.attest.audit import Audit, audit
from gradgate.attest.envelope import read_envelope, seal
from gradgate.cli.main import main
from gradgate.errors import ConfigError, GradgateError

N_TAMPERINGS = 300


def decisions(signer: CryptoSigner, folder: Path, word: str = "ours") -> Log:
    """Six decisions of three people."""
    groups = [evidence(id=i, spans=[f"string {i}"]) for i in (1, 2)]
    ids = [id_of(f"{word} {i}") for i in range(8)]
    return said(
        folder,
        [
            draft("Ada", "keep", ids[:4], groups[0], reason=word),
            draft("Bob", "keep", ids[:4], groups[0], pattern=True, reason=word),
            draft("Eve", "drop", ids[4:], groups[1], reason=word),
            draft("Ada", "withdraw", ids[:4], groups[0], reason=word),
            draft("Bob", "keep", ids[2:3], reason=word),
            draft("Ada", "drop", ids[5:], reason=word),
        ],
        signer,
    )


class Case:
    """A copy of a log with two attestations that rest on it, to be tampered with."""

    def __init__(self, attested: Attested, whole: Path, folder: Path, draw: Random) -> None:
        self.attested, self.folder, self.draw = attested, folder, draw
        shutil.copytree(whole, folder)
        self.audit, self.runs = folder / "audit", folder / "runs"
        self.log = log_path(self.audit)
        self.lines = self.log.read_bytes().splitlines(keepends=True)
        self.lists = sorted((self.audit / "rows").iterdir())
        self.attestations = sorted(self.runs.glob("*/attestation.json"))

    @property
    def signer(self) -> CryptoSigner:
        return self.attested.signer

    def heard(self) -> Audit:
        key = self.signer.public_key
        return audit(self.audit, {key.keyid: key}, self.runs, self.attestations)

    def write(self, lines: list[bytes]) -> None:
        content = b"".join(lines)
        assert content != self.log.read_bytes()
        self.log.write_bytes(content)

    def place(self) -> int:
        return self.draw.randrange(len(self.lines))

    def rewritten(self, signer: CryptoSigner | None, changes: dict[str, Any]) -> None:
        """All entries again, which agree with themselves, one of them with changes."""
        keys = {k.keyid: k for k in [self.signer.public_key]}
        known, at = read_log(self.audit, keys), self.place()
        kept = [(entry, sorted(known.samples(entry))) for entry in known.entries]
        shutil.rmtree(self.audit)
        self.audit.mkdir()
        said(
            self.audit,
            [_again(*one, changes if i == at else {}) for i, one in enumerate(kept)],
            signer,
        )


def _again(entry: Entry, ids: list[str], changes: dict[str, Any]) -> Any:
    fields = entry.model_copy(update=changes)
    more = {name: getattr(fields, name) for name in ("reason", "rows", "questions", "run")}
    pattern = fields.pattern and fields.group is not None and fields.action == "keep"
    return draft(fields.by, fields.action, ids, fields.group, pattern, **more)


def flipped(content: bytes, draw: Random) -> bytes:
    place, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def flip_log(t: Case) -> None:
    t.write([flipped(t.log.read_bytes(), t.draw)])


def cut_log(t: Case) -> None:
    content = t.log.read_bytes()
    t.write([content[: t.draw.randrange(len(content))]])


def cut_entries(t: Case) -> None:
    t.write(t.lines[: t.place()])


def take_the_log_away(t: Case) -> None:
    if t.draw.random() < 0.5:
        t.log.unlink()
    else:
        shutil.rmtree(t.audit)


def swap(t: Case) -> None:
    i, j = t.draw.sample(range(len(t.lines)), 2)
    t.lines[i], t.lines[j] = t.lines[j], t.lines[i]
    t.write(t.lines)


def shuffle(t: Case) -> None:
    before = [*t.lines]
    while t.lines == before:
        t.draw.shuffle(t.lines)
    t.write(t.lines)


def remove(t: Case) -> None:
    del t.lines[t.place()]
    t.write(t.lines)


def replay(t: Case) -> None:
    """An earlier entry once more, at the end or somewhere."""
    line = t.lines[t.place()]
    t.lines.insert(t.draw.choice([t.place(), len(t.lines)]), line)
    t.write(t.lines)


def replay_another_log(t: Case) -> None:
    """A log that the gate has signed as well, elsewhere: whole, or entry by entry."""
    other = decisions(t.signer, t.folder / "other", f"of another gate {t.draw.random()}")
    content = log_path(other.folder).read_bytes()
    shutil.copytree(other.folder / "rows", t.audit / "rows", dirs_exist_ok=True)
    lines, at = content.splitlines(keepends=True), t.place()
    t.write(t.draw.choice([lines, [*t.lines, lines[at]], [*t.lines[:at], *lines[at:]]]))


def strip_signatures(t: Case) -> None:
    i = t.place()
    line = json.loads(t.lines[i])
    t.lines[i] = json.dumps({**line, "signatures": []}, separators=(",", ":")).encode() + b"\n"
    t.write(t.lines)


def exchange_signatures(t: Case) -> None:
    i, j = t.draw.sample(range(len(t.lines)), 2)
    one, other = json.loads(t.lines[i]), json.loads(t.lines[j])
    line = {**one, "signatures": other["signatures"]}
    t.lines[i] = json.dumps(line, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    t.write(t.lines)


def write_it_otherwise(t: Case) -> None:
    """The same entry in other bytes, whose signature is right."""
    i = t.place()
    t.lines[i] = json.dumps(json.loads(t.lines[i])).encode() + b"\n"
    t.write(t.lines)


CHANGES: list[dict[str, Any]] = [
    {},
    {"by": "Mallory"},
    {"action": "keep"},
    {"action": "drop"},
    {"reason": "never mind"},
    {"pattern": True},
    {"group": evidence(spans=["click here"])},
    {"questions": ["poisoned", "harmful"]},
]


def forge_by_a_stranger(t: Case) -> None:
    t.rewritten(stranger(), t.draw.choice(CHANGES))


def forge_unsigned(t: Case) -> None:
    t.rewritten(None, t.draw.choice(CHANGES))


def forge_with_the_key(t: Case) -> None:
    """Whoever has the key can write a log that agrees with itself; attestations know the other."""
    t.rewritten(t.signer, {"run": f"another {t.draw.random()}"})


def flip_a_list(t: Case) -> None:
    path = t.draw.choice(t.lists)
    path.write_bytes(flipped(path.read_bytes(), t.draw))


def change_a_list(t: Case) -> None:
    path = t.draw.choice(t.lists)
    lines = path.read_text().splitlines(keepends=True)
    more = f"{id_of(t.draw.random())}\n"
    path.write_text("".join(t.draw.choice([lines[1:], [*lines, more], [*lines[1:], more]])))


def exchange_lists(t: Case) -> None:
    one, other = t.draw.sample(t.lists, 2)
    one.write_bytes(other.read_bytes())


def take_a_list_away(t: Case) -> None:
    t.draw.choice(t.lists).unlink()


def flip_an_attestation(t: Case) -> None:
    path = t.draw.choice(t.attestations)
    content = path.read_bytes()
    changed = content
    while b"\n" in (a := flipped(content, t.draw)) and json_of(a) == json_of(content):
        changed = a  # a blank for another one: the same envelope
    path.write_bytes(a if a != content else changed)


def json_of(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def forge_an_attestation(t: Case) -> None:
    """One that agrees with a log whose end was cut off, by somebody without the key."""
    t.write(t.lines[:-1])
    log = read_log(t.audit, {t.signer.public_key.keyid: t.signer.public_key})
    path, signer = t.draw.choice([(p, s) for p in t.attestations for s in (None, stranger())])
    head = {"n": log.head.n, "sha256": log.head.sha256}
    t.attested.sealed_with(path, {"audit_log": head, "approvals": []}, signer)


def replay_an_attestation(t: Case) -> None:
    """The gate's own, of before: the log has grown since, and its end is cut off again."""
    t.write(t.lines[: t.draw.randrange(1, 6)])
    shutil.copy(t.attestations[0], t.attestations[0].with_name("kept.json"))


TAMPERINGS: list[Callable[[Case], None]] = [
    *(flip_log, cut_log, cut_entries, take_the_log_away, swap, shuffle, remove, replay),
    *(replay_another_log, strip_signatures, exchange_signatures, write_it_otherwise),
    *(forge_by_a_stranger, forge_unsigned, forge_with_the_key),
    *(flip_a_list, change_a_list, exchange_lists, take_a_list_away),
    *(flip_an_attestation, forge_an_attestation, replay_an_attestation),
]


@pytest.fixture(scope="module")
def whole(attested: Attested, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of six entries, and attestations of runs behind the third and behind the last."""
    folder = tmp_path_factory.mktemp("log")
    log = decisions(attested.signer, folder / "audit")
    for n in (3, 6):
        entry = log.entries[n - 1]
        approval = {
            **{"by": entry.by, "action": entry.action, "chosen": entry.chosen, "run": entry.run},
            **{"at": "2026-11-26T02:00:00Z", "reason": entry.reason, "pattern": entry.pattern},
            **{"entry": log.digests[n - 1], "n_rows": 1},
        }
        head = {"n": n, "sha256": log.digests[n - 1]}
        path = folder / "runs" / f"night-{n}" / "attestation.json"
        path.parent.mkdir(parents=True)
        attested.sealed_with(path, {"audit_log": head, "approvals": [approval]}, attested.signer)
    return folder


def test_no_log_that_was_tampered_with_holds(
    attested: Attested, whole: Path, tmp_path: Path
) -> None:
    untouched = Case(attested, whole, tmp_path / "untouched", Random(0)).heard()
    assert (untouched.refusals, untouched.n_witnesses) == ([], 4)
    held = []
    for seed in range(N_TAMPERINGS):
        tamper = TAMPERINGS[seed % len(TAMPERINGS)]
        case = Case(attested, whole, tmp_path / str(seed), Random(seed))
        tamper(case)
        try:
            is_refused = bool(case.heard().refusals)
        except GradgateError:
            is_refused = True
        if not is_refused:
            held.append((seed, tamper.__name__))
        shutil.rmtree(case.folder)
    assert held == []


def test_the_end_of_a_log_is_known_by_attestations_alone(
    attested: Attested, whole: Path, tmp_path: Path
) -> None:
    case = Case(attested, whole, tmp_path / "case", Random(0))
    cut_entries(case)
    key = case.signer.public_key
    assert audit(case.audit, {key.keyid: key}, tmp_path / "nothing", []).refusals == []
    assert "its end was cut off" in "; ".join(case.heard().refusals)


def test_a_damaged_witness_is_a_refusal(attested: Attested, whole: Path, tmp_path: Path) -> None:
    """Otherwise whoever cuts the log off need only damage the attestation that knows of its end."""
    case = Case(attested, whole, tmp_path / "case", Random(0))
    key = case.signer.public_key
    texts = [path.read_text() for path in case.attestations]
    payload = json.loads(texts[1])["payload"]
    case.attestations[0].write_text(texts[0] + "x")
    other = ("A" if payload[40] != "A" else "B").join((payload[:40], payload[41:]))
    case.attestations[1].write_text(texts[1].replace(payload, other))
    found = audit(case.audit, {key.keyid: key}, case.runs, [])
    assert len(found.refusals) == len(case.attestations)
    assert found.unheard == []


def test_a_witness_of_an_earlier_version_says_nothing(
    attested: Attested, whole: Path, tmp_path: Path
) -> None:
    """A gate that was upgraded has runs of both."""
    case = Case(attested, whole, tmp_path / "case", Random(0))
    key, earlier = case.signer.public_key, case.attestations[0]
    statement = {**read_envelope(earlier).statement, "predicateType": "urn:gradgate:earlier:v0"}
    earlier.write_bytes(seal(statement, case.signer))
    found = audit(case.audit, {key.keyid: key}, case.runs, [])
    assert found.refusals == []
    assert found.unheard == [earlier]
    assert found.n_witnesses == len(case.attestations) - 1
    assert audit(case.audit, {key.keyid: key}, case.runs, [earlier]).refusals


def test_an_attestation_that_names_decisions_and_no_log_is_refused(
    attested: Attested, whole: Path, tmp_path: Path
) -> None:
    case = Case(attested, whole, tmp_path / "case", Random(0))
    shutil.rmtree(case.audit)
    case.attestations = [attested.attestation]
    shutil.rmtree(case.runs)
    assert case.heard().refusals == []  # of a gate where nobody decides
    changes = {
        "approvals": [
            {
                **{"by": "Ada", "action": "keep", "chosen": "poisoned:1", "run": "night-1"},
                **{"at": "2026-11-26T02:00:00Z", "reason": "ours", "pattern": False},
                **{"entry": "a" * 64, "n_rows": 1},
            }
        ]
    }
    path = attested.sealed_with(tmp_path / "other.json", changes, attested.signer)
    case.attestations = [path]
    assert case.heard().refusals == [f"{path}: it names decisions, and no log that they are from"]


def test_the_command(
    attested: Attested,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = shutil.copytree(whole, tmp_path / "state")
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(state))
    key = ["--key", str(attested.key)]
    assert main(["audit", "verify", *key]) == 0
    assert "whole: 6 entries, held against 2 attestations" in capsys.readouterr().out
    assert main(["audit", "verify"]) == 2
    assert "name the gate's public key (--key)" in capsys.readouterr().err
    assert main(["audit", "show", *key]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 12
    assert shown[2].startswith("2. keep poisoned:1 (4 rows, and new rows of such a group) of run")
    named = ["--attestation", str(tmp_path / "nothing.json")]
    assert main(["audit", "verify", *key, *named]) == 2
    (state / "audit" / "log.jsonl").write_bytes(b"")
    assert main(["audit", "verify", *key]) == 1
    assert "the log had 3 entries, and has 0 now" in capsys.readouterr().err
    (state / "audit" / "log.jsonl").write_bytes(b"{}\n")
    assert main(["audit", "show", *key]) == 1
    with pytest.raises(ConfigError):
        audit(whole / "audit", {}, tmp_path, [])
