"""`gradgate verify`: whether an attestation covers the data that are going to be trained on."""

from pathlib import Path

from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.given_rows import Covered, Place, check_place
from gradgate.attest.model_files import ModelFiles
from gradgate.attest.verification import Trust, Verified, verify_by
from gradgate.cli.lines import say, tell

_COVERED: dict[Covered, str] = {
    "file": "the very file of the gate",
    "rows": "by their samples",
    "tokens": "by their tokens and loss masks",
}


def run_verify(attestation: Path, place: Place, files: ModelFiles | None, trust: Trust) -> int:
    """Verify, say what was found, and return the exit code."""
    try:
        found = verify_by(attestation, trust, files, lambda known: check_place(place, known))
    except NotVerifiedError as error:
        for refusal in error.refusals:
            say(f"refused: {refusal}")
        return 1
    n = 0 if found.predicate.accepted is None else found.predicate.accepted.n
    tell(f"verified: {n:,} rows, {_COVERED[found.covered]}; attestation {found.digest}")
    tell(f"signed by {found.key}" if found.key else "UNSIGNED: anybody may have written it")
    _say_limits(found, files)
    return 0


def _say_limits(found: Verified, files: ModelFiles | None) -> None:
    if found.unread:
        say(f"not compared, for no method has read them: columns {', '.join(found.unread)}")
    if files is None:
        say("not compared: the model (--model)")
