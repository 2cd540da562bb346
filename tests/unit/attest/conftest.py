import shutil
from pathlib import Path

import pytest
from attest_helpers import Attested, write_attested, write_reviewed
from shared import made_once

from gradgate.common.run_folder import RunFolder
from gradgate.signing.keys import VARIABLE


@pytest.fixture(scope="session")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """A run that passes, with its attestation; nobody may write into it."""
    return Attested(made_once(tmp_path_factory, "attested", write_attested))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "reviewed", write_reviewed)


@pytest.fixture
def reviewed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the run, as it lies in a state folder, whose key the environment names."""
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(VARIABLE, str(made / "key"))
    return RunFolder(shutil.copytree(made / "run", tmp_path / "state" / "runs" / "night-1"))
