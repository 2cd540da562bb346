"""Files and folders that are whole or not there."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gradgate.common.files import (
    aside,
    folder_written_whole,
    own_aside,
    put_in_place,
    work_folder,
    written_whole,
)
from gradgate.common.state import state_dir


class BrokenOffError(Exception):
    """What happens in the middle of writing."""


def write_half(path: Path) -> None:
    path.write_text("ne")
    raise BrokenOffError


def there(folder: Path) -> dict[str, str]:
    """The files below a folder with their content; a folder that is empty has a slash."""
    found = {
        str(path.relative_to(folder)) + ("/" if path.is_dir() else ""): path
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }
    return {name: "" if path.is_dir() else path.read_text() for name, path in found.items()}


# Files


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with written_whole(path) as part:
        assert part == aside(path) == tmp_path / ".table.gradgate.part"
        part.write_text("new")
        assert there(tmp_path) == {".table.gradgate.part": "new"}
    assert there(tmp_path) == {"table": "new"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("something longer than what comes")
    with written_whole(path) as part:
        part.write_text("new")
        assert path.read_text().startswith("something longer")
    assert there(tmp_path) == {"table": "new"}


@pytest.mark.parametrize("was_there", [True, False])
def test_a_file_that_breaks_off_leaves_what_was_there(tmp_path: Path, was_there: bool) -> None:
    path = tmp_path / "table"
    if was_there:
        path.write_text("old")
    with pytest.raises(BrokenOffError), written_whole(path) as part:
        write_half(part)
    assert there(tmp_path) == ({"table": "old"} if was_there else {})


def test_a_file_that_nobody_wrote_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(path):
        pass
    assert there(tmp_path) == {"table": "old"}


def test_a_file_that_cannot_take_its_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "mine").write_text("mine")
    with pytest.raises(OSError, match="table"), written_whole(tmp_path / "table") as part:
        part.write_text("new")
    assert there(tmp_path) == {"table/mine": "mine"}


def test_two_may_write_the_same_file_aside_of_one_another(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with written_whole(path, tmp_path / "one.part") as one:
        with written_whole(path, tmp_path / "two.part") as two:
            one.write_text("one")
            two.write_text("two")
        assert path.read_text() == "two"
    assert there(tmp_path) == {"table": "one"}


def test_what_a_killed_process_left_aside_is_overwritten(tmp_path: Path) -> None:
    aside(tmp_path / "table").write_text("torn, and longer than what comes")
    with written_whole(tmp_path / "table") as part:
        part.write_text("new")
    assert there(tmp_path) == {"table": "new"}


@pytest.mark.parametrize("knows_links", [True, False])
def test_a_new_file_takes_no_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows_links: bool
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    if not knows_links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "table"

    def write(text: str) -> None:
        with written_whole(path, own_aside(path), is_new=True) as part:
            if text == "second":
                write("first")
            part.write_text(text)

    with pytest.raises(FileExistsError):
        write("second")
    assert there(tmp_path) == {"table": "first"}


# Folders


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with folder_written_whole(folder) as part:
        assert part == aside(folder)
        (part / "inner").mkdir()
        (part / "inner" / "table").write_text("new")
        assert not folder.exists()
    assert there(tmp_path) == {"deep/run/inner/table": "new"}


def test_a_folder_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError), folder_written_whole(tmp_path / "run") as part:
        write_half(part / "table")
    assert there(tmp_path) == {}


def test_a_folder_replaces_an_empty_one_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with folder_written_whole(tmp_path / "run") as part:
        (part / "table").write_text("old")
    assert there(tmp_path) == {"run/table": "old"}
    with pytest.raises(OSError, match="run"), folder_written_whole(tmp_path / "run") as part:
        (part / "table").write_text("new")
    assert there(tmp_path) == {"run/table": "old"}


def test_what_a_killed_process_left_of_a_folder_is_no_part_of_the_next(tmp_path: Path) -> None:
    (part := aside(tmp_path / "run")).mkdir()
    (part / "torn").write_text("torn")
    with folder_written_whole(tmp_path / "run") as part:
        (part / "table").write_text("new")
    assert there(tmp_path) == {"run/table": "new"}


def test_all_of_a_folder_is_forced_to_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the system calls: a loss of power itself cannot be had in a test."""
    part, path = tmp_path / "run.part", tmp_path / "run"
    (part / "inner").mkdir(parents=True)
    (part / "inner" / "table").write_text("new")
    (part / "link").symlink_to("nowhere")
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recorded(number: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{number}"), path.exists()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", recorded)
    put_in_place(part, path)
    before = {name for name, has_its_name in synced if not has_its_name}
    assert before == {str(part), str(part / "inner"), str(part / "inner" / "table")}
    assert synced[-1] == (str(tmp_path), True)
    assert (path / "link").is_symlink()


# Files of the user's own beside them


@pytest.mark.parametrize("name", ["run.part", "run.work", ".run.part", "run"])
def test_a_neighbour_that_somebody_else_made_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    with work_folder(tmp_path / "run") as work:
        (work / "scratch").touch()
    with suppress(OSError), folder_written_whole(tmp_path / "run") as folder:
        (folder / "table").write_text("new")
    with suppress(OSError), written_whole(tmp_path / "run") as part:
        part.write_text("new")
    assert there(tmp_path)[f"{name}/mine"] == "mine"


def test_a_file_beside_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "table.part").write_text("mine")
    with written_whole(tmp_path / "table") as part:
        part.write_text("new")
    assert there(tmp_path) == {"table": "new", "table.part": "mine"}


def test_a_work_folder_is_thrown_away_and_so_is_one_of_a_killed_process(tmp_path: Path) -> None:
    for _ in range(2):
        with suppress(BrokenOffError), work_folder(tmp_path / "table") as work:
            assert not list(work.iterdir())
            (left := work / "left").touch()
            raise BrokenOffError
        assert there(tmp_path) == {}
        left.parent.mkdir()
        left.touch()


# Several at the same time


def test_a_file_that_several_threads_write_is_one_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(number: int) -> None:
        for _ in range(50):
            with written_whole(path, own_aside(path)) as part:
                part.write_text(str(number) * 100)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert set(there(tmp_path)) == {"file"}
    assert len(set(path.read_text())) == 1


def test_threads_find_the_state_folder_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: state_dir(), range(2_000)))
    assert set(found) == {tmp_path}
    assert there(tmp_path) == {}
