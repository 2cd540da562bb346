"""The flows: what Prefect runs."""

import logging
from pathlib import Path

from gradgate import __version__
from gradgate.common.environment import set_defaults

# Written by `gradgate unpack`: what works with another version of gradgate was never tested.
_unpacked = Path(__file__).with_name("VERSION")
if _unpacked.exists() and _unpacked.read_text(encoding="utf-8").strip() != __version__:
    raise ImportError(
        f"the flows in {_unpacked.parents[1]} are not of gradgate {__version__}, which is "
        f"installed; write them anew: gradgate unpack {_unpacked.parents[1]}"
    )
set_defaults()
# Prefect takes up this logger ([tool.prefect.logging] in pyproject.toml), but not its level.
logging.getLogger("gradgate").setLevel(logging.INFO)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record is more than the traceback of a state that a flow returned.

    A worker raises such a state as FailedRun and logs the traceback as an error; but a rejection
    is no crash, and the flow has logged the state already.
    """
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "FailedRun"  # prefect is not imported yet


logging.getLogger("prefect.flow_runs").addFilter(_is_news)
