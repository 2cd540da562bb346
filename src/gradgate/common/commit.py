"""The commit of the code that runs, where it is a checkout."""

import subprocess
from pathlib import Path

# What is code: settings such as prefect.yaml are not, for a run has its own.
_CODE = (":(top)*.py", ":(top)src", ":(top)expectations")


def code_commit(file: Path = Path(__file__)) -> str | None:
    """Commit of the repository that holds a file of the code, `-dirty` when code was changed.

    None where the file is of no repository, as in an installed wheel, or git is not there.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)  # not some repository around it
        changed = _git(file, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
        return _git(file, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(file: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=file.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout.strip()
