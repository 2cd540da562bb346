"""The JSON files of a model's folder, with what is wrong with them in words."""

import json
from pathlib import Path
from typing import Any

from gradgate.models.weights_file import require_content

_MAX_BYTES = 256 * 2**20  # tokenizer.json of a large vocabulary has 35 MB


def read_settings(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: There is none; the message names the file and says why.
        OSError: It cannot be read.
    """
    require_content(file)
    size = file.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"{file.name} has {size:,} bytes, more than a file of settings can have")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name} is damaged: it is no UTF-8 text") from error
    except RecursionError as error:
        raise ValueError(f"{file.name} is damaged: it is nested too deeply") from error
    except json.JSONDecodeError as error:
        is_cut = not error.doc[error.pos :].strip() or error.msg.startswith("Unterminated string")
        state = "half downloaded" if is_cut else "damaged"
        raise ValueError(
            f"{file.name} is {state}: no JSON from line {error.lineno} on ({error.msg})"
        ) from error
    except ValueError as error:  # a number with more digits than Python reads
        raise ValueError(f"{file.name} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is damaged: it holds no JSON object")
    return content
