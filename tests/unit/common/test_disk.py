from pathlib import Path

import pytest

from gradgate.common.disk import require_space, size_of
from gradgate.errors import ConfigError


def test_what_has_no_room_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the table will take at least .* MiB are free"):
        require_space(tmp_path / "not" / "there", 2**60, "the table")
    require_space(tmp_path / "not" / "there", 0, "the table")
    assert not list(tmp_path.iterdir())


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"45")
    assert size_of(tmp_path) == 5
    assert size_of(tmp_path / "two") == 2
    assert size_of(tmp_path / "nothing") == 0
