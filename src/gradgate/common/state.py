"""The state folder: everything that gradgate keeps lies there."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from gradgate.errors import ConfigError


def state_dir() -> Path:
    """Absolute path of `$GRADGATE_STATE_DIR`, or of `.gradgate/` in the working folder.

    Raises:
        ConfigError: The folder cannot be made or written.
    """
    folder = _place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"the state folder {folder} cannot be written ({error.strerror}); "
            "set GRADGATE_STATE_DIR to a folder that can"
        ) from error
    return folder


def _place() -> Path:
    return Path(os.environ.get("GRADGATE_STATE_DIR") or ".gradgate").expanduser().absolute()


def audit_folder() -> Path:
    """The folder of the log of what people have decided; neither it nor the state need be there."""
    return _place() / "audit"


def runs_folder() -> Path:
    """The folder with the folders of all gate runs; neither it nor the state need be there."""
    return _place() / "runs"


def score_store() -> Path:
    """The file of the score store."""
    return state_dir() / "scores.db"


def alignments() -> Path:
    """The folder with the replies of models to probing sets; it need not be there."""
    return state_dir() / "alignments"


def rehearsals() -> Path:
    """The folder with what rehearsals have found; it need not be there."""
    return state_dir() / "rehearsals"
