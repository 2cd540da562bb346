"""What the tests of two questions in one run share: the method of the second."""

from collections.abc import Iterator

import pytest
from method_helpers import Words, registered


@pytest.fixture
def words() -> Iterator[None]:
    """The method, known as long as a test runs."""
    with registered(Words):
        yield
