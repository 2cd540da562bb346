"""`gradgate audit`: the log of what people have decided."""

from pathlib import Path

from cyclopts import App

from gradgate.cli.lines import say, tell

app = App(help="The log of what people have decided on rows.")


@app.command
def verify(*, key: Path | None = None, attestation: list[Path] | None = None) -> int:
    """Check the log from its first entry to its last, and hold it against attestations.

    The exit code is 0 when it is as it was written, 1 when it is not, 2 when it could not run.

    Args:
        key: File of the gate's public key, or of several; needed where the gate signs.
        attestation: Files of further attestations, which may lie elsewhere; those of the runs in
            the state folder are read anyway.
    """
    from gradgate.attest.audit import audit
    from gradgate.common.state import audit_folder, runs_folder
    from gradgate.signing.keys import public_keys

    keys = {} if key is None else public_keys(key)
    found = audit(audit_folder(), keys, runs_folder(), attestation or [])
    if found.unheard:
        say(f"not heard, for they are of another key or version: {len(found.unheard)} attestations")
    for refusal in found.refusals:
        say(f"refused: {refusal}")
    if found.log is None or found.refusals:
        return 1
    head, n = found.log.head, found.n_witnesses
    if head.n and not n:
        say("no attestation was held against it, so that a cut-off end would not be seen")
    tell(f"whole: {head.n:,} entries, held against {n:,} attestations; head {head.sha256}")
    if not keys:
        tell("UNSIGNED: anybody may have written it")
    return 0


@app.command
def show(*, key: Path | None = None) -> int:
    """List who has decided what, when and why, the oldest first.

    The exit code is 0, 1 when the log is not as it was written, 2 when it could not run.

    Args:
        key: File of the gate's public key, or of several; needed where the gate signs.
    """
    from gradgate.approvals.log import BrokenLogError, read_log
    from gradgate.cli.approve import in_a_line
    from gradgate.common.state import audit_folder
    from gradgate.signing.keys import public_keys

    try:
        log = read_log(audit_folder(), {} if key is None else public_keys(key))
    except BrokenLogError as error:
        say(f"refused: {error}")
        return 1
    for entry in log.entries:
        tell(in_a_line(entry))
        tell(f"   {entry.reason}")
    if not log.entries:
        say("nobody has decided anything yet")
    return 0
