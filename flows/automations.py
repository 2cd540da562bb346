"""`python -m flows automations`: who is told of what, as automations of Prefect."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from gradgate.cli.lines import tell
from gradgate.config import load_config
from gradgate.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from tasks.alerts.config import AlertsConfig

app = App(help="Alerts as automations of Prefect (docs/alerts.md).")


@app.command(name="apply")
def _apply(file: Path) -> int:
    """Let the server have exactly the automations of FILE; those of others are left alone.

    Args:
        file: YAML, as alerts.example.yaml shows it.
    """
    from tasks.alerts.applying import apply

    config = _read(file)
    with _answering():
        for change, name in apply(config):
            tell(f"{change:9}  {name}")
    return 0


@app.command(name="show")
def _show() -> int:
    """List the automations that `apply` has made."""
    from tasks.alerts.applying import show

    with _answering():
        found = show()
    for automation in found:
        n = sum(action.type == "send-notification" for action in automation.actions)
        state = "on " if automation.enabled else "off"
        does = f"tells {n} channel{'' if n == 1 else 's'}" if n else "closes the run"
        tell(f"{state}  {automation.name}: {does}")
    if not found:
        tell("no automations were made here")
    return 0


@app.command(name="test")
def _test(file: Path) -> int:
    """Send a message by every channel of FILE, from this machine.

    Args:
        file: YAML, as alerts.example.yaml shows it.
    """
    from tasks.alerts.applying import send_test

    config = _read(file)
    with _answering():
        for name in send_test(config):
            tell(f"sent  {name}")
    return 0


def _read(file: Path) -> "AlertsConfig":
    from tasks.alerts.config import AlertsConfig

    return load_config(file, AlertsConfig)


@contextmanager
def _answering() -> Iterator[None]:
    """Say in a line what went wrong beyond this machine."""
    import httpx
    from prefect.blocks.abstract import NotificationError
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        yield
    except NotificationError as error:
        raise ConfigError(f"the receiver of a channel did not take it: {error.log}") from error
    except PrefectHTTPStatusError as error:
        raise ConfigError(f"Prefect's server refuses: {error}") from error
    except httpx.HTTPError as error:
        raise TransientError(
            f"a server does not answer ({type(error).__name__}: {error}); see PREFECT_API_URL"
        ) from error
