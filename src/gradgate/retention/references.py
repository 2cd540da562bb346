"""Which runs are referred to from outside of their folders: by the series, and by approvals."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradgate.common.json_values import parse_json
from gradgate.errors import DataError

_DEPTH = 64  # of JSON within JSON


@dataclass(frozen=True)
class References:
    """What is said elsewhere in the state folder.

    Attributes:
        last_runs: Names of the runs' folders that the series point to.
        approved: Every text in the log of approvals.
        unreadable: Why it is not known what is referred to; then it may be anything.
    """

    last_runs: frozenset[str]
    approved: frozenset[str]
    unreadable: tuple[str, ...] = ()

    def approves(self, *names: str) -> bool:
        """Whether an entry of the log names one of these: a folder, or the digest of a file."""
        return any(name in text for name in names if name for text in self.approved)


def references(state: Path) -> References:
    """Read the pointers of all series, and the log of approvals."""
    unreadable = list[str]()
    last_runs, approved = set[str](), set[str]()
    for pointer in (state / "series").glob("*.json"):
        try:
            last_runs.add(run_in(pointer))
        except DataError as error:
            unreadable.append(str(error))
    try:
        approved.update(_texts_of(state / "audit" / "log.jsonl"))
    except DataError as error:
        unreadable.append(str(error))
    return References(frozenset(last_runs), frozenset(approved), tuple(unreadable))


def run_in(pointer: Path) -> str:
    """The run that a file of `series/` names.

    Raises:
        DataError: It names none.
    """
    try:
        return str(parse_json(pointer.read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{pointer} does not name a run; delete it, and the next run of its series is the first"
        ) from error


def _texts_of(log: Path) -> Iterator[str]:
    """Every text in the entries of a log; nothing where nothing was ever approved."""
    if not log.exists():
        if log.parent.is_dir() and any(log.parent.iterdir()):
            raise DataError(f"there is no {log}, although {log.parent} is not empty")
        return
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
        for line in filter(str.strip, lines):
            yield from _texts(parse_json(line), _DEPTH)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{log} cannot be read ({error}); `gradgate audit verify`") from error


def _texts(value: Any, depth: int) -> Iterator[str]:
    """All texts in a JSON value, and in the payload of an envelope."""
    if depth == 0:
        raise ValueError("too deep")
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, depth - 1)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one, depth - 1)
        if "payloadType" in value:
            payload = base64.b64decode(value["payload"], validate=True)
            yield from _texts(parse_json(payload), depth - 1)
