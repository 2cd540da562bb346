"""JSON of files that anybody may have written: whatever is wrong with it is a `ValueError`."""

import json
from typing import Any

from pydantic import ValidationError

_MAX_FAULTS = 3  # that are said; the others are counted
_MAX_NAME = 80  # characters of a field, which may be anybody's


class TooDeepError(ValueError):
    """JSON whose arrays and objects are nested more deeply than Python reads."""


def parse_json(text: str | bytes) -> Any:
    """The value that a JSON text says.

    Raises:
        ValueError: It is no JSON, or no UTF-8.
        TooDeepError: It is nested too deeply, whether it is JSON or not.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise TooDeepError("it is nested too deeply") from error


def faults_in(error: ValidationError) -> str:
    """What is wrong with a value, field by field, in a line that does not repeat the value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    said = [": ".join(filter(None, (_name(one["loc"]), one["msg"]))) for one in faults]
    rest = len(said) - _MAX_FAULTS
    more = [f"and {rest} more"] if rest > 0 else []
    return "; ".join([*said[:_MAX_FAULTS], *more])


def _name(loc: tuple[int | str, ...]) -> str:
    return " ".join(".".join(map(str, loc)).split())[:_MAX_NAME]
