from pathlib import Path

import pytest
from lora_helpers import Gated, passing_run, write_models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models by their architecture; nobody may write into them."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def gated(folders: Path, tmp_path: Path) -> Gated:
    """A run that passes, judged by one of them."""
    return passing_run(tmp_path, folders / "llama")
