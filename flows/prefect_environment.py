"""What has to be said before Prefect is imported, and servers of Prefect that were left behind."""

import logging
import os
from pathlib import Path

import psutil

from gradgate.common.processes import Process
from gradgate.common.state import state_dir

logger = logging.getLogger("gradgate.flows")

_STARTED_BY = "GRADGATE_STARTED_BY"  # in the environment of what a command starts
_SERVER = "prefect.server.api.server:create_app"
_PATIENCE = 10  # seconds, in which a server ends


def set_prefect_defaults() -> None:
    """Fit Prefect to a command that runs flows by itself; whatever the user set stays.

    Without a server the flows run in Prefect's temporary one, whose database then lies in the
    state folder; it takes 6-10 s to start, and longer than Prefect's limit of 20 s on a busy
    machine.
    """
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    os.environ[_STARTED_BY] = Process.this().as_text()
    profiles = Path.home() / ".prefect" / "profiles.toml"
    if "PREFECT_API_URL" not in os.environ and not profiles.exists():
        os.environ.setdefault("PREFECT_HOME", str(state_dir() / "prefect"))


def end_servers_left_behind() -> None:
    """End temporary servers whose command was killed by SIGKILL, which left nobody who could."""
    left = [process for process in psutil.process_iter() if _is_left(process)]
    for process in left:
        try:
            process.terminate()
            logger.warning("ended Prefect's temporary server %d of a killed process", process.pid)
        except psutil.Error:
            continue
    for process in psutil.wait_procs(left, timeout=_PATIENCE)[1]:
        process.kill()


def _is_left(process: psutil.Process) -> bool:
    try:
        if _SERVER not in process.cmdline():
            return False
        owner = Process.from_text(process.environ().get(_STARTED_BY, ""))
    except psutil.Error:  # somebody else's, or gone
        return False
    return owner is not None and owner.is_gone()
