"""`gradgate restore`: rows that a gate kept out, put back by a person who answers for it."""

import getpass
from pathlib import Path

from gradgate.cli.lines import say
from gradgate.cli.output import check_output, make_folder, require_file
from gradgate.errors import ConfigError
from gradgate.gate.ranges import read_ranges
from gradgate.gate.restore import Chosen, record_path, restore


def run_restore(
    folder: Path,
    rows: list[str],
    groups: list[str],
    kept_out_for: list[str],
    reason: str,
    by: str | None,
    output: Path,
) -> int:
    """Write the new file of rows and its record."""
    if not reason.strip():
        raise ConfigError("--reason says why the rows are put back; it is empty")
    require_file(output)
    check_output([output, record_path(output)], [str(folder)])
    make_folder(output)
    chosen = Chosen(read_ranges(rows), groups, kept_out_for)
    done = restore(folder, chosen, output, by or _account(), reason)
    say(f"{done.n_restored:,} rows put back by {done.by}: {done.n_rows:,} rows in {output}")
    if done.n_not_judged:
        say(f"{done.n_not_judged:,} of them were never judged: nobody knows what they teach")
    say(f"who, what and why: {record_path(output)}")
    return 0


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a number without a name, in a container
        raise ConfigError("nobody is logged in; say who puts the rows back by --by") from error
