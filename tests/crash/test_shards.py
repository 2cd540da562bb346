"""Workers of shards that are killed at random lose nothing but the unit that they were in."""

import json
from pathlib import Path

from forked import Forker
from shard_helpers import digest, merged, planned, prepared_at, scored, some_rows

LOOP = "from shard_loop import main; main()"


def test_workers_that_are_killed_lose_nothing(tmp_path: Path, commands: Forker) -> None:
    """Eight shards in any order, and twenty of their workers killed at random."""
    prepared = prepared_at(tmp_path / "prepared", some_rows(80))
    folder, _ = planned(tmp_path / "shards", prepared, unit_tokens=60)
    done = commands.run(LOOP, tmp_path / "shards", 8, 20)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["killed"], set(found["codes"])) == (20, {0}), done.stderr
    assert found["most_units_left"] > 0
    merged(folder, tmp_path / "merged.parquet")
    folder.clear_leftovers()
    assert folder.names("building") == folder.names("parts") == []
    undisturbed, _ = planned(tmp_path / "undisturbed", prepared, unit_tokens=60)
    scored(undisturbed, 1)
    merged(undisturbed, tmp_path / "expected.parquet")
    assert digest(tmp_path / "merged.parquet") == digest(tmp_path / "expected.parquet")
