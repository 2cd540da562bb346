import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_helpers import Site, inherited, running_site
from wheel_helpers import installed_wheel

from gradgate.signing.keys import make_key


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: that of a worker's socket must not be longer than 100 characters."""
    made = Path(tempfile.mkdtemp(prefix="gradgate-site-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def programs(folder: Path) -> Path:
    """Programs of an environment into which the wheel was installed."""
    return installed_wheel(folder)


@pytest.fixture(scope="module")
def home(folder: Path, programs: Path) -> Path:
    """A folder that was empty before the installed gradgate wrote its flows there."""
    made = folder / "home"
    command = [str(programs / "gradgate"), "unpack", str(made)]
    subprocess.run(command, cwd=folder, env=inherited(), check=True)
    return made


@pytest.fixture(scope="module")
def site(folder: Path, programs: Path, home: Path) -> Iterator[Site]:
    """PostgreSQL, Prefect, MLflow, a store and a worker: one minute of processor time.

    As long as they are there they take a fifth of a core, so they end with the tests of their file.
    """
    make_key(folder / "gate-key")
    with running_site(folder, programs, home, folder / "gate-key") as running:
        yield running
