"""JSON of files that anybody may have written: whatever is wrong with it is a `ValueError`."""

import json
from typing import Any


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
