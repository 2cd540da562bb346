"""Commands as a user types them, in this process or in one of their own."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from gradgate.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def ok(done: Done) -> list[str]:
    """The lines of a command that went well."""
    assert done.exit_code == 0, done.stderr
    return done.stderr.splitlines()


def refused(done: Done) -> str:
    """The one line of a command that could not run."""
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def gradgate(*arguments: object) -> Done:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def gradgate_process(*arguments: object) -> Done:
    """Run the installed command in a process of its own, without a terminal."""
    done = subprocess.run(
        [Path(sys.executable).parent / "gradgate", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
