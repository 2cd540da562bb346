"""Which host a process is of, where several have one name."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gradgate.common import processes
from gradgate.common.processes import Process, machine

FIRST, CONTAINER = processes._FIRST_NAMESPACE, "pid:[4026533333]"
ONE, OTHER = "0" * 31 + "1", "0" * 31 + "2"


class Host:
    """What a host says of itself, for those that are asked from here."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, monkeypatch
        monkeypatch.setattr(socket, "gethostname", lambda: "worker")
        monkeypatch.setattr(processes, "_MACHINE_IDS", (str(folder / "machine-id"),))
        monkeypatch.setattr(processes, "_BOOT_ID", str(folder / "boot_id"))

    def is_now(self, machine_id: str, boot: str, namespace: str = FIRST) -> Process:
        """A process of such a host."""
        (self._folder / "machine-id").write_text(f"{machine_id}\n")
        (self._folder / "boot_id").write_text(f"{boot[:8]}-{boot[8:]}\n")
        self._patch.setattr(os, "readlink", lambda _: namespace)
        return Process.this()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def gone(process: Process) -> Process:
    return replace(process, pid=999_999_999)


def test_another_machine_of_the_same_name_is_another_host(host: Host) -> None:
    there = gone(host.is_now(ONE, ONE))
    assert there.is_gone()
    host.is_now(OTHER, OTHER)
    assert (there.is_of_this_host(), there.is_gone()) == (False, False)


def test_a_machine_that_was_started_again_is_the_same_host(host: Host) -> None:
    there = gone(host.is_now(ONE, ONE))
    host.is_now(ONE, OTHER)
    assert there.is_gone()


@pytest.mark.parametrize("unknown", ["", "uninitialized"])
def test_without_an_id_of_the_machine_its_last_start_tells(host: Host, unknown: str) -> None:
    there = gone(host.is_now(unknown, ONE))
    assert there.is_gone()
    host.is_now(unknown, OTHER)
    assert not there.is_gone()


def test_containers_of_one_image_and_name_are_told_by_the_start_of_their_machine(
    host: Host,
) -> None:
    there = gone(host.is_now(ONE, ONE, CONTAINER))
    assert there.is_gone()
    host.is_now(ONE, OTHER, CONTAINER)
    assert not there.is_gone()
    host.is_now(ONE, ONE, "pid:[4026534444]")
    assert not there.is_gone()


def test_the_id_of_the_machine_is_not_told_and_a_process_survives_its_text(host: Host) -> None:
    this = host.is_now(ONE, ONE)
    assert len(machine()) == 12
    assert ONE not in this.as_text()
    assert Process.from_text(this.as_text()) == this
    assert not this.is_gone()
