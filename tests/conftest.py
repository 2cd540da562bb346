import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may wait for a hub


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder of the test's own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(folder))
    return folder
