"""The log is read from its first entry to its last, or not at all."""

import json
import os
import threading
from pathlib import Path

import pytest
from approval_helpers import draft, evidence, id_of, said
from attest_helpers import stranger

from gradgate.approvals.log import GENESIS, BrokenLogError, append, log_path, read_log
from gradgate.errors import ConfigError, DataError

IDS = [id_of(i) for i in range(5)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    assert read_log(tmp_path / "audit", {}).head.sha256 == GENESIS
    (first, digest), (second, _) = append(
        tmp_path / "audit",
        [draft("Ada", "keep", IDS, evidence(), pattern=True), draft("Bob", "drop", IDS[:1] * 2)],
        None,
        {},
    )
    log = read_log(tmp_path / "audit", {})
    assert log.entries == [first, second]
    assert (first.number, first.previous, second.previous) == (1, GENESIS, digest)
    assert (log.head.n, log.digests[0]) == (2, digest)
    assert log.samples(first) == set(IDS)
    assert (second.n_rows, second.n_samples) == (2, 1)
    assert log.samples(second) == {IDS[0]}
    assert (first.chosen, second.chosen) == ("poisoned:1", "rows 3")


def test_the_earlier_lines_stay_as_they_are(tmp_path: Path) -> None:
    said(tmp_path, [draft("Ada", "keep", IDS)])
    before = log_path(tmp_path).read_bytes()
    said(tmp_path, [draft("Bob", "keep", IDS)])
    after = log_path(tmp_path).read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 2


def test_several_processes_append(tmp_path: Path) -> None:
    def decide(name: str) -> None:
        for _ in range(5):
            said(tmp_path, [draft(name, "keep", IDS)])

    threads = [threading.Thread(target=decide, args=(name,)) for name in ("Ada", "Bob", "Eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.number for entry in read_log(tmp_path, {}).entries] == list(range(1, 16))


def test_a_gate_with_a_key_reads_what_it_has_signed_and_nothing_else(tmp_path: Path) -> None:
    signer, other = stranger(), stranger()
    keys = {signer.public_key.keyid: signer.public_key}
    said(tmp_path, [draft("Ada", "keep", IDS)], signer)
    with pytest.raises(ConfigError, match="is signed, and there is no key"):
        read_log(tmp_path, {})
    with pytest.raises(BrokenLogError, match="entry 1 of the log is not signed by"):
        read_log(tmp_path, {other.public_key.keyid: other.public_key})
    both = {**keys, other.public_key.keyid: other.public_key}
    append(tmp_path, [draft("Bob", "keep", IDS)], other, both)
    assert len(read_log(tmp_path, both).entries) == 2
    with pytest.raises(BrokenLogError, match="entry 2"):
        append(tmp_path, [draft("Bob", "drop", IDS)], signer, keys)
    unsigned = tmp_path / "unsigned"
    said(unsigned, [draft("Ada", "keep", IDS)])
    with pytest.raises(BrokenLogError, match="not signed"):
        read_log(unsigned, keys)


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    whole = said(tmp_path, [draft("Ada", "keep", IDS)])
    with log_path(tmp_path).open("ab") as file:
        file.write(b'{"payload":"eyJ')
    with pytest.raises(BrokenLogError, match="ends in the middle of an entry"):
        read_log(tmp_path, {})
    log = said(tmp_path, [draft("Bob", "drop", IDS)])
    assert [entry.by for entry in log.entries] == ["Ada", "Bob"]
    assert log.digests[0] == whole.head.sha256


@pytest.mark.parametrize("end", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_an_end_that_is_nested_too_deeply_is_refused_and_stays(tmp_path: Path, end: bytes) -> None:
    said(tmp_path, [draft("Ada", "keep", IDS)])
    whole = log_path(tmp_path).read_bytes()
    for content in (whole + end, whole + end + b"\n"):
        log_path(tmp_path).write_bytes(content)
        with pytest.raises(
            BrokenLogError, match=r"nested too deeply|entry 2 of the log is damaged"
        ):
            said(tmp_path, [draft("Bob", "drop", IDS)])
        assert log_path(tmp_path).read_bytes() == content


def test_an_entry_that_has_lost_the_end_of_its_line_stays(tmp_path: Path) -> None:
    said(tmp_path, [draft("Ada", "keep", IDS), draft("Bob", "drop", IDS)])
    path = log_path(tmp_path)
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    log = said(tmp_path, [draft("Cyd", "keep", IDS)])
    assert [entry.by for entry in log.entries] == ["Ada", "Bob", "Cyd"]


def test_a_full_disk_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(tmp_path, [draft("Ada", "keep", IDS)])
    before = log_path(tmp_path).read_bytes()
    real, open_files = os.fsync, []

    def full(number: int) -> None:
        if os.readlink(f"/proc/self/fd/{number}").endswith("log.jsonl"):
            open_files.append(number)
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        append(tmp_path, [draft("Ada", "keep", IDS), draft("Ada", "drop", IDS)], None, {})
    assert open_files
    assert log_path(tmp_path).read_bytes() == before


def test_a_line_is_written_in_one_way_only(tmp_path: Path) -> None:
    said(tmp_path, [draft("Ada", "keep", IDS)])
    path = log_path(tmp_path)
    line = json.loads(path.read_bytes())
    for other in (json.dumps(line), json.dumps(line, indent=1).replace("\n", ""), " "):
        path.write_text(f"{other}\n")
        with pytest.raises(BrokenLogError):
            read_log(tmp_path, {})


def test_a_list_of_rows_is_the_one_that_the_entry_names(tmp_path: Path) -> None:
    log = said(tmp_path, [draft("Ada", "keep", IDS)])
    (path,) = (tmp_path / "rows").iterdir()
    path.write_text("".join(f"{one}\n" for one in [*IDS, id_of("poison")]))
    with pytest.raises(BrokenLogError, match="is not the list of rows that entry 1 names"):
        log.samples(log.entries[0])
    path.unlink()
    with pytest.raises(BrokenLogError, match="cannot be read"):
        log.samples(log.entries[0])


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        append(tmp_path, [draft("Ada", "keep", IDS, evidence(spans=["\ud800"]))], None, {})
    assert not log_path(tmp_path).exists()
