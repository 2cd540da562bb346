"""Which shard a worker takes: as it is told, or as the scheduler that started it says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gradgate.errors import ConfigError

_ARRAY = "SLURM_ARRAY_TASK_"
_COMPLETION = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, order=True)
class Shard:
    """One of several shards.

    Attributes:
        index: From 0.
        count: Of all.
    """

    index: int
    count: int

    def __str__(self) -> str:
        """As people write it: the first is 1."""
        return f"{self.index + 1}/{self.count}"


def shard_named(text: str, environment: Mapping[str, str]) -> tuple[Shard, str | None]:
    """The shard that a worker takes.

    Args:
        text: `2/8`; `auto` for what SLURM's job array says, or an indexed job of Kubernetes, which
            does not know of how many: `auto/8`.
        environment: Variables of the process.

    Returns:
        The shard, and which variables said so; None where `text` does.

    Raises:
        ConfigError: There is no such shard, or nothing in the environment says which.
    """
    found = re.fullmatch(r"(\d+|auto)(?:/(\d+))?", text.strip(), re.ASCII)
    if found is None:
        raise ConfigError(f"--shard {text!r} is none; say 2/8, auto or auto/8")
    first, count = found[1], None if found[2] is None else int(found[2])
    if first != "auto":
        if count is None:
            raise ConfigError(f"--shard {text} does not say of how many; say {text}/8")
        return _checked(int(first), count, f"--shard {text}"), None
    if f"{_ARRAY}ID" in environment:
        return _of_slurm(environment, count)
    if _COMPLETION in environment:
        return _of_kubernetes(environment, count)
    raise ConfigError(
        f"--shard auto reads {_ARRAY}ID of SLURM's job arrays and {_COMPLETION} of Kubernetes' "
        "indexed jobs, and neither is set; say which shard it is: --shard 2/8"
    )


def _of_slurm(environment: Mapping[str, str], count: int | None) -> tuple[Shard, str]:
    number, first, step = (
        _number(environment, f"{_ARRAY}{name}", default)
        for name, default in (("ID", None), ("MIN", None), ("STEP", 1))
    )
    told = _number(environment, f"{_ARRAY}COUNT", None)
    if count not in (None, told):
        raise ConfigError(f"--shard auto/{count}: the job array has {told} tasks ({_ARRAY}COUNT)")
    at, rest = divmod(number - first, max(1, step))
    how = f"{_ARRAY}ID {number}, MIN {first}, COUNT {told}"
    if rest:
        raise ConfigError(f"{how} are of no regular job array; say --shard 2/8")
    return _checked(at + 1, told, how), how


def _of_kubernetes(environment: Mapping[str, str], count: int | None) -> tuple[Shard, str]:
    index = _number(environment, _COMPLETION, None)
    if count is None:
        raise ConfigError(
            f"Kubernetes says {_COMPLETION} {index} and not of how many; say how many completions "
            "the job has: --shard auto/8"
        )
    how = f"{_COMPLETION} {index}, of {count} as given"
    return _checked(index + 1, count, how), how


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ConfigError(f"{name} is {text!r} and no number; say --shard 2/8")
    return int(text)


def _checked(number: int, count: int, told: str) -> Shard:
    if not 1 <= number <= count:
        raise ConfigError(f"{told}: shards go from 1/{count} to {count}/{count}")
    return Shard(number - 1, count)
