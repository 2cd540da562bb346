"""`gradgate runs`: what the runs in the state folder are held by, and removing the others."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(help="Gate runs, drills and comparisons in the state folder.")

Revoked = Annotated[
    Path | None,
    Parameter(help="File with digests of attestations and ids of keys that no longer hold."),
]


@app.command(name="list")
def list_runs(*, revoked: Revoked = None, json: bool = False) -> int:
    """Print what lies there, the newest first, and what it is held by.

    Args:
        revoked: See `gradgate verify`.
        json: Print a JSON array.
    """
    from gradgate.cli.retention import run_list

    return run_list(revoked, json)


@app.command
def prune(
    *,
    older_than: str,
    keep_last: int = 0,
    tables_only: bool = False,
    revoked: Revoked = None,
    dry_run: bool = False,
) -> int:
    """Remove what is old and held by nothing: no attestation in use, no approval, no process.

    Args:
        older_than: Days since something in it was written, such as 90d.
        keep_last: Of each gate, this many runs that decided stay whatever their age.
        tables_only: Of gate runs, take the tables and the rows that no attestation in use speaks
            of, and leave verdict, attestation, configuration, report and what was trained.
        revoked: See `gradgate verify`; what is revoked holds nothing back.
        dry_run: Only say what would go.
    """
    from gradgate.cli.retention import run_prune

    return run_prune(older_than, keep_last, tables_only, revoked, dry_run)
