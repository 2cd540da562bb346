"""Telemetry of the libraries is off: a security gate reports to nobody but its user."""

import os

# DO_NOT_TRACK is "true" because MLflow accepts nothing else; Prefect (whose SDK reports to
# Amplitude) and huggingface_hub accept it as well.
_OFF = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
}


def disable_telemetry() -> None:
    """Switch telemetry off for this process and its children, unless the user set a variable.

    Must run before prefect, mlflow, great_expectations or huggingface_hub is imported: they read
    these variables at import.
    """
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
