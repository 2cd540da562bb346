"""What `gradgate runs` prints: what is held by what, and what a prune removed."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from gradgate.attest.verification import Trust
from gradgate.cli.lines import give, give_table, one_line, say, tell
from gradgate.common.state import state_dir
from gradgate.errors import ConfigError
from gradgate.retention.holds import Entry
from gradgate.retention.pruning import Removal, Rules, clean_up, entries, old, removal_of, remove

_MIB = 2**20
_DAYS = re.compile(r"(\d{1,5})d")
_NAMES = ("name", "date", "gate", "source", "verdict", "accepted", "MiB", "signature", "held by")


def run_list(revoked: Path | None, as_json: bool) -> int:
    """Print what lies in the state folder, and what it is held by."""
    found = _entries(revoked)
    if as_json:
        give(json.dumps([_record(entry) for entry in found], indent=2) + "\n")
        return 0
    if found:
        give_table(_table(found))
    tell(f"{_mib(sum(entry.found.n_bytes for entry in found))}: {_counted(found)} in {state_dir()}")
    return 0


def run_prune(
    older_than: str, keep_last: int, tables_only: bool, revoked: Path | None, dry_run: bool
) -> int:
    """Remove what is old and not held, say what went and what stays; 2 when something could not."""
    rules = Rules(_days(older_than), _not_negative(keep_last), tables_only)
    state = state_dir()
    left = 0 if dry_run else clean_up(state)
    if left:
        say(f"{_mib(left)} of a prune that was broken off")
    chosen = old(_entries(revoked), rules)
    planned = [removal for entry in chosen if (removal := removal_of(entry, rules)) is not None]
    going = {removal.entry.found.path for removal in planned}
    for entry in chosen:
        if entry.found.path not in going and entry.holds:
            tell(f"kept     {_line(entry)}: {_held(entry)}")
    done = [one for one in planned if dry_run or _removed(state, one)]
    for one in done:
        what = f", {len(one.paths)} tables" if tables_only else ""
        tell(f"removed  {_line(one.entry)}{what}, {_mib(one.n_bytes)}")
    n_bytes = left + sum(one.n_bytes for one in done)
    would = "would be " if dry_run else ""
    tell(f"{_mib(n_bytes)} {would}freed: {_counted([one.entry for one in done])}")
    return 0 if len(done) == len(planned) else 2


def _removed(state: Path, removal: Removal) -> bool:
    try:
        remove(state, removal)
    except OSError as error:
        say(f"error: {removal.entry.found.path} cannot be removed: {error}")
        return False
    return True


def _entries(revoked: Path | None) -> list[Entry]:
    return entries(state_dir(), Trust(revoked=revoked).revoked_ids())


def _days(text: str) -> timedelta:
    match = _DAYS.fullmatch(text)
    if match is None:
        raise ConfigError(f"--older-than {text!r} is no number of days such as 90d")
    return timedelta(days=int(match[1]))


def _not_negative(number: int) -> int:
    if number < 0:
        raise ConfigError(f"--keep-last {number} must not be negative")
    return number


def _table(found: Sequence[Entry]) -> Table:
    table = Table()
    for name in _NAMES:
        right = name in ("accepted", "MiB")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for entry in found:
        record = _record(entry)
        size = f"{record['bytes'] / _MIB:.1f}"
        cells = {**record, "MiB": size, "date": record["date"][:10], "held by": _held(entry)}
        cells["signature"] = record["attestation"]
        table.add_row(*(Text("" if cells[n] is None else one_line(cells[n])) for n in _NAMES))
    return table


def _record(entry: Entry) -> dict[str, Any]:
    facts, found = entry.facts, entry.found
    return {
        "name": found.name,
        "kind": found.kind,
        "date": found.written.isoformat(timespec="seconds"),
        "gate": None if facts is None else facts.gate,
        "source": None if facts is None else facts.source,
        "verdict": None if facts is None else facts.decision,
        "accepted": None if facts is None else facts.n_accepted,
        "bytes": found.n_bytes,
        "attestation": entry.attestation,
        "held_by": [hold.reason for hold in entry.holds],
    }


def _held(entry: Entry) -> str:
    return "; ".join(hold.reason for hold in entry.holds)


def _line(entry: Entry) -> str:
    facts = entry.facts
    verdict = "" if facts is None else f", {facts.decision or 'no verdict'}"
    return f"{entry.found.name}, {entry.found.written:%Y-%m-%d}{verdict}"


def _counted(found: Sequence[Entry]) -> str:
    counts = Counter(entry.found.kind for entry in found)
    names = {"gate": "gate runs", "drill": "drills", "comparison": "comparisons"}
    parts = [f"{n} {names.get(kind, 'leftovers')}" for kind, n in sorted(counts.items())]
    return ", ".join(parts) or "nothing"


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:,.1f} MiB"
