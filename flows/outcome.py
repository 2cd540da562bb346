"""From a verdict or a test to a Prefect state, and from a state to an exit code."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Completed, Failed

from gradgate.common.redaction import redacted
from gradgate.errors import GradgateError
from gradgate.gate.verdict import EXIT_CODES, Decision, Verdict
from gradgate.release.result import AdapterTest

logger = logging.getLogger("gradgate.flows")

_THE_END = {"gradgate_end": True}  # marks the record that says how a flow ended
AGAIN_AFTER = 0.05  # seconds; by then a destructor is over

STATE_NAMES: dict[Decision, str] = {
    "pass": "Completed",
    "fail": "Rejected",
    "review": "NeedsReview",
    "error": "NotDecided",
}


def state_of(verdict: Verdict) -> State[Any]:
    """Completed for a pass; everything else is a failed state, so that nothing runs on it."""
    return _state(verdict.decision, "; ".join(verdict.reasons))


def state_of_test(test: AdapterTest) -> State[Any]:
    """Completed when what was trained is released; otherwise failed, as by a verdict."""
    reasons = "; ".join(test.reasons)
    message = reasons if test.outcome == "pass" else f"what was trained is held back: {reasons}"
    return _state(test.outcome, message)


def _state(decision: Decision, message: str) -> State[Any]:
    if decision == "pass":
        return Completed(message=message)
    name = STATE_NAMES[decision]
    logger.warning("%s: %s", name, message, extra=_THE_END)
    return Failed(name=name, message=message)


def broken(error: GradgateError) -> State[Any]:
    """Failed, with the error as the message instead of a page of traceback."""
    message = redacted(f"{type(error).__name__}: {error}")
    logger.error("%s", message, extra=_THE_END)
    return Failed(message=message)


@contextmanager
def end_not_on_console() -> Iterator[None]:
    """Leave it to the caller to print how a flow ended; Prefect's logs of the run have it, too."""
    consoles = [*logging.getLogger().handlers]
    for console in consoles:
        console.addFilter(_is_before_the_end)
    try:
        yield
    finally:
        for console in consoles:
            console.removeFilter(_is_before_the_end)


def _is_before_the_end(record: logging.LogRecord) -> bool:
    """Whether a record is something else than the state that a flow ended in."""
    is_prefects = record.name == "prefect.flow_runs"
    is_end = is_prefects and record.getMessage().startswith("Finished in state ")
    return not is_end and not any(hasattr(record, name) for name in _THE_END)


def exit_code_of(state: State[Any]) -> int:
    """The verdict's exit code; 2 for a run that broke before or after its verdict."""
    decisions = {name: decision for decision, name in STATE_NAMES.items()}
    return EXIT_CODES[decisions.get(str(state.name), "error")]


@contextmanager
def as_the_signal() -> Iterator[None]:
    """Let a signal through that Prefect or Python hides.

    One that comes while Prefect makes a task run becomes a ValueError ("Task run is not set"), and
    the flow run would be Failed, as if it had broken, and not Crashed. One that comes while a
    destructor runs is printed and forgotten by Python, and the flow would go on to its end: it is
    sent again a moment later.
    """
    try:
        with _sent_again():
            yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, TerminationSignal):
            behind = behind.__context__
        if behind is None:
            raise
        raise behind from None


@contextmanager
def _sent_again() -> Iterator[None]:
    """Send a signal once more whose exception could not be raised where it came."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        before(unraisable)
        if isinstance(unraisable.exc_value, TerminationSignal):
            number = unraisable.exc_value.signal
            # not from here, where it could not be raised either
            threading.Timer(AGAIN_AFTER, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
