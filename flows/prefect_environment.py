"""What has to be said before Prefect is imported."""

import os
from pathlib import Path

from gradgate.common.state import state_dir


def set_prefect_defaults() -> None:
    """Fit Prefect to a command that runs flows by itself; whatever the user set stays.

    Without a server the flows run in Prefect's temporary one, whose database then lies in the
    state folder; it takes 6-10 s to start, and longer than Prefect's limit of 20 s on a busy
    machine.
    """
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    profiles = Path.home() / ".prefect" / "profiles.toml"
    if "PREFECT_API_URL" not in os.environ and not profiles.exists():
        os.environ.setdefault("PREFECT_HOME", str(state_dir() / "prefect"))
