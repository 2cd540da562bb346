"""What the messages say: counts and fixed words, so that no text of a dataset is in a message.

The reasons of a verdict quote the data. A flow run therefore says its verdict once more in figures,
in a label, and templates of Prefect read that. Of an error they show its kind, for the rest of its
message may quote data too.
"""

import logging
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.alerts.config import Kind

logger = logging.getLogger("gradgate.tasks")

SUMMARY = "gradgate.summary"  # label of a flow run
# A server on SQLite is busy with what the last task did, and refuses; seconds until it is asked
# again, where Prefect's client would wait for two.
_SOON = (0.05, 0.1, 0.2, 0.4, 0.8)
_WHAT_TO_DO: dict[Kind, str] = {
    "rejected": "The dataset must not be used for fine-tuning; the report shows why.",
    "needs_review": "A person has to look: the report lists what is in doubt.",
    "not_decided": "The gate could not decide, so nothing may be trained on.",
    "broken": "There is no verdict; the log of the run says what broke.",
}
_NAME = "{{ flow_run.name | truncate(80) }}"
_STATE = "{{ flow_run.state.name | truncate(40) }}"
_FIGURES = (
    f"{{{{ (flow_run.labels['{SUMMARY}'] or 'no figures: look at the run') | truncate(300) }}}}"
)
_ERROR = "{{ ((flow_run.state.message or 'no message').split(':') | first) | truncate(80) }}"


def label_run(flow_run: str | None, summary: str) -> None:
    """Say in a label of a flow run what its alert will say; that it fails fails no verdict."""
    if flow_run is None:
        return
    try:
        if not _is_labelled_soon(flow_run, summary):
            _label(flow_run, summary)  # with the patience of Prefect's client
    except Exception as error:
        logger.warning("the summary for alerts is not recorded: %s", error)


def _is_labelled_soon(flow_run: str, summary: str) -> bool:
    """Label it, and try again at once where that fails, whatever the reason."""
    for wait in _SOON:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                _label(flow_run, summary)
        except Exception as error:
            logger.debug("the server does not take the label yet: %s", error)
            time.sleep(wait)
        else:
            return True
    return False


def _label(flow_run: str, summary: str) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(flow_run), {SUMMARY: summary})


def of_a_run(kind: Kind, ui: str) -> tuple[str, str]:
    """Subject and body, as templates, of an alert on how a run ended."""
    said = _ERROR if kind == "broken" else _FIGURES
    body = (
        f"Run {_NAME} of flow {{{{ flow.name | truncate(80) }}}} ended as {_STATE}: {said}\n"
        f"{_WHAT_TO_DO[kind]}\n{ui}/runs/flow-run/{{{{ flow_run.id }}}}"
    )
    return f"gradgate: {_STATE}: {_NAME}", body


def of_a_schedule(deployment: str, hours: float, link: str) -> tuple[str, str]:
    """The same of an alert on a deployment that comes to no verdict."""
    body = (
        f"{deployment} has come to no verdict for {hours:g} hours: its schedule is off, no worker "
        f"runs, or its runs hang or break.\n{link}"
    )
    return f"gradgate: {deployment} came to no verdict", body
