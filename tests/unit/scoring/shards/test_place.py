"""Which shard a worker takes."""

import pytest

from gradgate.errors import ConfigError
from gradgate.scoring.shards.place import Shard, shard_named

SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("2/8", {}, Shard(1, 8)),
        ("2/8", SLURM, Shard(1, 8)),
        (" 8/8 ", {}, Shard(7, 8)),
        ("auto", SLURM, Shard(2, 4)),
        ("auto/4", SLURM, Shard(2, 4)),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_STEP": "2"}, Shard(1, 4)),
        ("auto/3", KUBERNETES, Shard(0, 3)),
    ],
)
def test_it_is_what_was_said_or_what_the_scheduler_says(
    text: str, environment: dict[str, str], shard: Shard
) -> None:
    found, how = shard_named(text, environment)
    assert found == shard
    assert (how is not None) == text.startswith("auto")
    if how is not None:
        assert next(iter(environment.values())) in how


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/8", {}, "from 1/8 to 8/8"),
        ("9/8", {}, "from 1/8 to 8/8"),
        ("1/0", {}, "from 1/0"),
        ("3", {}, "of how many"),
        ("-1/8", {}, "is none"),
        ("half", {}, "is none"),
        ("٢/8", {}, "is none"),
        ("auto", {}, "neither is set"),
        ("auto", KUBERNETES, "of how many"),
        ("auto/0", KUBERNETES, "from 1/0"),
        ("auto/5", SLURM, "has 4 tasks"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN is '' and no number"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "9"}, "from 1/4 to 4/4"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "4"}, "from 1/4 to 4/4"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_STEP": "3"}, "no regular job array"),
    ],
)
def test_anything_else_is_refused(text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shard_named(text, environment)
