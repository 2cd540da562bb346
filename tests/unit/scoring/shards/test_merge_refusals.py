"""What is missing, damaged, doubled or of others is refused by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_helpers import digest, merged, planned, prepared_at, scored, some_rows, worker_at

from gradgate.config import ScoringConfig
from gradgate.errors import ConfigError, GradgateError, StoreError
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.merge import merge
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan
from gradgate.scoring.shards.segment import read_about, read_segment, write_segment


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of four shards, and beside it others of other rows and settings."""
    base = tmp_path_factory.mktemp("whole")
    prepared = prepared_at(base / "prepared", some_rows(60))
    scored(planned(base / "shards", prepared)[0], 4)
    scored(planned(base / "others", prepared_at(base / "b", some_rows(40)))[0], 4)
    k8 = ScoringConfig(k=8)
    folder, _ = planned(base / "k8", prepared, k8)
    for index in range(4):
        worker_at(folder, scoring=k8).score(Shard(index, 4))
    return base


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    shutil.copytree(whole / "shards", tmp_path / "shards")
    return tmp_path / "shards"


def segment(folder: Path, number: int) -> Path:
    return folder / "segments" / f"{number:05d}-of-00004.parquet"


def refused(folder: Path, kind: type[GradgateError], message: str) -> None:
    output = folder.parent / "scores.parquet"
    with pytest.raises(kind, match=message):
        merged(ShardFolder(folder), output)
    assert not output.exists()


def test_a_missing_shard_is_named(folder: Path) -> None:
    for number in (1, 3):
        segment(folder, number).unlink()
    refused(folder, ConfigError, r"shards 1/4, 3/4 are not published; .* --shard 1/4$")
    shutil.rmtree(folder / "segments")
    refused(folder, ConfigError, "no shard is published")


def test_a_last_shard_that_is_missing_is_named(folder: Path) -> None:
    segment(folder, 4).unlink()
    refused(folder, ConfigError, r"shard 4/4 is not published")


def outcome(folder: Path, output: Path) -> str:
    """What a merge is refused for; nothing when it is not."""
    try:
        merged(ShardFolder(folder), output)
    except StoreError as error:
        return str(error)
    return ""


def test_no_flipped_bit_changes_the_table(folder: Path) -> None:
    """It is refused by name, unless it stands where nothing is read, as in a statistic."""
    output = folder.parent / "scores.parquet"
    merged(ShardFolder(folder), output)
    expected, content = digest(output), segment(folder, 2).read_bytes()
    n_refused, places = 0, range(5, len(content), len(content) // 40)
    for at in places:
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        segment(folder, 2).write_bytes(changed)
        said = outcome(folder, output)
        n_refused += said != ""
        assert said == "" or ("00002-of-00004" in said and said.endswith("--shard 2/4"))
        assert digest(output) == expected
    assert n_refused > 0.8 * len(places)


@pytest.mark.parametrize("left", [0, 3, 500, -9])
def test_a_cut_segment_is_found(folder: Path, left: int) -> None:
    segment(folder, 2).write_bytes(segment(folder, 2).read_bytes()[:left])
    refused(folder, StoreError, r"00002-of-00004.parquet is damaged .*--shard 2/4$")


def test_segments_that_overlap_are_named(folder: Path) -> None:
    worker_at(ShardFolder(folder)).score(Shard(1, 3))
    refused(folder, StoreError, r"0000\d-of-0000[34].parquet and .* overlap in unit \d+")


def test_another_configuration_is_named(folder: Path, whole: Path) -> None:
    shutil.copy(segment(whole / "k8", 2), segment(folder, 2))
    refused(folder, ConfigError, r"00002-of-00004.parquet was scored .* k 8 and not 16; remove it")


def test_other_samples_are_named(folder: Path, whole: Path) -> None:
    shutil.copy(segment(whole / "others", 2), segment(folder, 2))
    refused(folder, ConfigError, r"00002-of-00004.parquet is of other samples")


def test_a_file_that_is_no_segment_is_named(folder: Path) -> None:
    (folder / "segments" / "notes.parquet").write_bytes(b"")
    refused(folder, StoreError, r"notes.parquet is not named like a segment")


def rewritten(folder: Path, change: Callable[[list[tuple[bytes, bytes]]], object]) -> None:
    """A segment whose digest is right, and whose lines are not."""
    shards, name = ShardFolder(folder), "segments/00002-of-00004.parquet"
    groups = [[*group] for group in read_segment(shards, name)]
    change(groups[0])
    about = read_about(shards, name)
    write_segment(segment(folder, 2), about, groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.pop(), "has other samples in its unit"),
        (lambda lines: lines.append(lines[0]), "has other samples in its unit"),
        (lambda lines: lines.reverse(), "has other samples in its unit"),
        (lambda lines: lines.__setitem__(0, (b"x" * 32, lines[0][1])), "has other samples in its"),
        (
            lambda lines: lines.__setitem__(0, (lines[0][0], b"\0")),
            "record of sample .* is another's",
        ),
        (
            lambda lines: lines.__setitem__(0, (lines[0][0], lines[1][1])),
            "record of sample .* is another's",
        ),
    ],
)
def test_lines_of_other_samples_are_refused(
    folder: Path, change: Callable[[list[tuple[bytes, bytes]]], object], message: str
) -> None:
    rewritten(folder, change)
    refused(folder, StoreError, message)


def test_a_segment_without_its_last_unit_is_refused(folder: Path) -> None:
    shards, name = ShardFolder(folder), "segments/00002-of-00004.parquet"
    groups = [*read_segment(shards, name)][:-1]
    write_segment(segment(folder, 2), read_about(shards, name), groups)
    refused(folder, StoreError, "ends before its last unit")


def test_rows_that_are_not_those_of_the_plan_are_refused(folder: Path) -> None:
    table = pq.read_table(folder / "rows.parquet")
    places = pa.array([0] * len(table), pa.int64())
    field = table.schema.field("place")
    pq.write_table(table.set_column(2, field, places), folder / "rows.parquet")
    refused(folder, StoreError, "rows.parquet is damaged .*digest")


def test_a_plan_without_rows_cannot_be_merged(folder: Path) -> None:
    (folder / "rows.parquet").unlink()
    refused(folder, StoreError, "rows.parquet cannot be read")


def test_what_was_merged_before_stays_when_it_is_refused(folder: Path) -> None:
    output = folder.parent / "scores.parquet"
    merged(ShardFolder(folder), output)
    before = output.read_bytes()
    segment(folder, 3).unlink()
    with pytest.raises(ConfigError):
        merge(ShardFolder(folder), Plan.read(ShardFolder(folder)), output)
    assert output.read_bytes() == before
    assert not [*folder.parent.glob("*.work")]
