import pytest
from attest_helpers import Attested, write_attested
from shared import made_once


@pytest.fixture(scope="session")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """A run that passes, with its attestation and its key."""
    return Attested(made_once(tmp_path_factory, "attested", write_attested))
