"""The flows: what Prefect runs."""

import logging

from gradgate.common.environment import set_defaults

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
