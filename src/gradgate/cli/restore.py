"""`gradgate restore`: rows that a gate kept out, put back by a person who answers for it."""

import getpass
import re
from pathlib import Path

from gradgate.cli.lines import say
from gradgate.cli.output import check_output, make_folder, require_file
from gradgate.errors import ConfigError
from gradgate.gate.restore import Chosen, record_path, restore

_RANGE = re.compile(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?")


def run_restore(
    folder: Path,
    rows: list[str],
    groups: list[str],
    reasons: list[str],
    because: str,
    by: str | None,
    output: Path,
) -> int:
    """Write the new file of rows and its record."""
    if not because.strip():
        raise ConfigError("--because says why the rows are put back; it is empty")
    require_file(output)
    check_output([output, record_path(output)], [str(folder)])
    make_folder(output)
    chosen = Chosen([_range(one) for text in rows for one in text.split(",")], groups, reasons)
    done = restore(folder, chosen, output, by or _account(), because)
    say(f"{done.n_restored:,} rows put back by {done.by}: {done.n_rows:,} rows in {output}")
    if done.n_not_judged:
        say(f"{done.n_not_judged:,} of them were never judged: nobody knows what they teach")
    say(f"who, what and why: {record_path(output)}")
    return 0


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"--rows {text!r} is no row number and no range such as 17-20")
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if last < first:
        raise ConfigError(f"--rows {text.strip()} ends before it begins")
    return first, last


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a number without a name, in a container
        raise ConfigError("nobody is logged in; say who puts the rows back by --by") from error
