"""From a verdict to a Prefect state, and from a state to an exit code."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from gradgate.errors import GradgateError
from gradgate.redaction import redacted
from gradgate.verdict import EXIT_CODES, Decision, Verdict

STATE_NAMES: dict[Decision, str] = {
    "pass": "Completed",
    "fail": "Rejected",
    "review": "NeedsReview",
    "error": "NotDecided",
}


def state_of(verdict: Verdict) -> State[Any]:
    """Completed for a pass; everything else is a failed state, so that nothing runs on it."""
    message = "; ".join(verdict.reasons)
    if verdict.decision == "pass":
        return Completed(message=message)
    return Failed(name=STATE_NAMES[verdict.decision], message=message)


def broken(error: GradgateError) -> State[Any]:
    """Failed, with the error as the message instead of a page of traceback."""
    return Failed(message=redacted(f"{type(error).__name__}: {error}"))


def exit_code_of(state: State[Any]) -> int:
    """The verdict's exit code; 2 for a run that broke before or after its verdict."""
    decisions = {name: decision for decision, name in STATE_NAMES.items()}
    return EXIT_CODES[decisions.get(str(state.name), "error")]
