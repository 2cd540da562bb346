"""Environment variables that libraries read when they are imported, set by every entry point."""

import os

_DEFAULTS = {
    # Telemetry: a security gate reports to nobody but its user. DO_NOT_TRACK is "true" because
    # MLflow accepts nothing else; Prefect and huggingface_hub accept it as well.
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # torch's threads spin while they wait; with anything else on the cores scoring was seen to
    # become six times slower by it.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def set_defaults() -> None:
    """Set what the user has not set, for this process and its children.

    Must run before torch, prefect, mlflow, great_expectations or huggingface_hub is imported.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
