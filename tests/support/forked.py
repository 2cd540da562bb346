"""Processes of their own that need not import anything: they are forked from one that has done so.

Each ends as any other process does, with its own exit code. What an import does without stdin,
stdout or stderr is not seen this way.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

COMMAND = "from gradgate.__main__ import main; main()"
FLOWS = "import runpy; runpy.run_module('flows', run_name='__main__')"  # `python -m flows`
_PATIENCE = 300  # seconds, in which a child has to end


@dataclass
class Child:
    """A process that was started.

    Attributes:
        reports: Says, once it has ended, how.
        is_over: Whether it has ended and its pid may be another's.
    """

    pid: int
    reports: IO[str]
    is_over: bool = False

    def wait(self) -> int:
        """The exit code; of a process that was killed, the negative number of the signal."""
        code = int(self.reports.readline())
        self.is_over = True
        return code

    def kill(self) -> None:
        """Kill it if it goes on, and wait until it is gone."""
        if not self.is_over:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class Forker:
    """A process that imports modules, and then forks a child for each request."""

    def __init__(self, *modules: str) -> None:
        """Start it; the first child waits for the imports."""
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the process that forks."""
        return self._process.pid

    def start(
        self, code: str, *arguments: object, stdout: IO[str], stderr: IO[str] | None = None
    ) -> Child:
        """Run code with arguments, the environment and the folder of this process; no stdin.

        Without `stderr` it goes where that of this process goes.
        """
        asked = {
            "code": code,
            "arguments": [str(argument) for argument in arguments],
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
        }
        ours, theirs = socket.socketpair()
        with theirs, ours:
            error = 2 if stderr is None else stderr.fileno()
            given = [stdout.fileno(), error, theirs.fileno()]
            socket.send_fds(self._requests, [json.dumps(asked).encode()], given)
            ours.settimeout(_PATIENCE)
            reports = ours.makefile()
        return Child(int(reports.readline()), reports)

    def run(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run code to its end, and capture what it prints."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            ended = self.start(code, *arguments, stdout=out, stderr=errors).wait()
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(code, ended, out.read(), errors.read())

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait(timeout=60)


def _serve(requests: socket.socket) -> None:
    """Fork for each request; returns in the child too, when what was asked for is done."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _keep(socket.socket(fileno=fds.pop()))
            return _become(json.loads(message), *fds)
        for fd in fds:
            os.close(fd)


def _keep(reports: socket.socket) -> None:
    """Fork once more, and tell how it ends; returns in the child alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        reports.close()
        return
    reports.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    reports.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(asked: dict[str, object], stdout: int, stderr: int) -> None:
    """Run the code as if it were this process's own program."""
    for fd, number in ((stdout, 1), (stderr, 2)):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the process's own
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["environment"])  # type: ignore[call-overload]
    os.chdir(str(asked["folder"]))
    sys.argv = ["gradgate", *asked["arguments"]]  # type: ignore[misc]
    exec(str(asked["code"]), {"__name__": "__main__"})


if __name__ == "__main__":
    gc.disable()
    for name in sys.argv[2:]:
        import_module(name)
    gc.freeze()  # no child looks for garbage in what it shares with the others
    gc.enable()
    _serve(socket.socket(fileno=int(sys.argv[1])))
