"""`gradgate approve`: a person decides, and is told what is open still."""

import shlex
from functools import partial
from pathlib import Path

from gradgate.approvals.record import Entry
from gradgate.attest.approving import Decided, EarlierRun, find_run, open_run, record
from gradgate.attest.resuming import preview
from gradgate.attest.verification import revoked_by_operator
from gradgate.cli.lines import say, tell
from gradgate.cli.output import quiet_libraries
from gradgate.gate.verdict import Answer, Verdict
from gradgate.signing.keys import operator_signer


def run_approve(name: str, decided: Decided, key: Path | None, revoked: Path | None) -> int:
    """Record a decision, and say what it changes."""
    quiet_libraries()
    find_revoked = partial(revoked_by_operator, key=key, revoked=revoked)
    run = open_run(find_run(name), partial(operator_signer, key=key), find_revoked)
    for entry, digest in record(run, decided):
        tell(f"recorded: {in_a_line(entry)}; entry {digest}")
    if run.signer is None:
        say("UNSIGNED: the gate has no key, so that anybody could have written it")
    _say_open(run, preview(run), name)
    return 0


def in_a_line(entry: Entry) -> str:
    """An entry of the log for people; its texts may be anybody's."""
    new = ", and new rows of such a group" if entry.pattern else ""
    return (
        f"{entry.number}. {entry.action} {entry.chosen} ({entry.n_rows:,} rows{new}) of run "
        f"{entry.run}, by {entry.by} at {entry.time:%Y-%m-%d %H:%M} UTC"
    )


def _say_open(run: EarlierRun, verdict: Verdict, name: str) -> None:
    say(
        f"decided: {verdict.n_kept:,} rows kept, {verdict.n_dropped:,} dropped; "
        f"{verdict.n_open:,} of {verdict.n_scored:,} rows are open"
    )
    for answer in verdict.answers:
        say(f"open as {answer.question}: {_of_answer(answer)}")
    if run.config.approvals.needed > 1:
        say(f"a decision counts when {run.config.approvals.needed} people have said the same")
    say(f"the verdict would be {verdict.decision.upper()}: {'; '.join(verdict.reasons)}")
    going_on = f"python -m flows approve {shlex.quote(name)}"
    if verdict.decision == "review":
        say(f"next: decide on what is open, and then {going_on}")
    else:
        say(f"next: {going_on}")


def _of_answer(answer: Answer) -> str:
    if answer.n_flagged is None:
        return f"what is flagged is not known, {answer.n_in_doubt:,} in doubt"
    return f"{answer.n_flagged:,} flagged, {answer.n_in_doubt:,} in doubt"
