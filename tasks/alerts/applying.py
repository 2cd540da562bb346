"""A server gets exactly the automations of a file: no second one, and none that left the file.

Automations that others made are neither read nor touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

from gradgate.errors import ConfigError, TransientError
from tasks.alerts.automations import OWNER, automations_of
from tasks.alerts.channels import block_of, id_of, remove_unused, secrets_of
from tasks.alerts.config import AlertsConfig

Change = Literal["created", "changed", "unchanged", "removed"]


def apply(config: AlertsConfig) -> Iterator[tuple[Change, str]]:
    """Make, change and remove automations; yields what was done, and the automation's name.

    Raises:
        ConfigError: There is no server, no deployment or block of a name, or no variable.
    """
    secrets = secrets_of(config.channels)
    with _client() as client:
        ui, links = _links(client, config)
        blocks = {
            name: id_of(block_of(client, name, channel, secrets))
            for name, channel in config.channels.items()
        }
        there = read(client)
        for wanted in automations_of(config, ui, blocks, links):
            same = [automation for automation in there if automation.name == wanted.name]
            there = [automation for automation in there if automation not in same[:1]]
            yield _put(client, wanted, same[0] if same else None), wanted.name
        for automation in there:
            client.delete_automation(automation.id)
            yield "removed", automation.name
        remove_unused(client, set(blocks.values()))


def show() -> list[Automation]:
    """The automations that were made here.

    Raises:
        ConfigError: There is no server.
    """
    with _client() as client:
        return read(client)


def send_test(config: AlertsConfig) -> Iterator[str]:
    """Send a message by each channel, from here; yields the name of each that took it.

    Raises:
        ConfigError: As for `apply`.
        NotificationError: A receiver refused.
        TransientError: A receiver did not answer, or not as it should.
    """
    secrets = secrets_of(config.channels)
    with _client() as client:
        for name, channel in config.channels.items():
            block: Any = block_of(client, name, channel, secrets)  # its types say that it is async
            with _told(name), block.raise_on_failure():
                block.notify("This is how alerts of gradgate arrive.", "gradgate: a test")
            yield name


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say of which channel a fault is; its address stays out, for it may be a secret."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        why = f"answers {error.response.status_code}"
        raise TransientError(f"channels.{name}: the receiver {why}") from error
    except (httpx.HTTPError, OSError) as error:
        why = f"does not answer from here ({type(error).__name__}: {error})"
        raise TransientError(f"channels.{name}: the receiver {why}") from error


def read(client: SyncPrefectClient) -> list[Automation]:
    """The automations that were made here, by name."""
    there = client.read_resource_related_automations(OWNER)
    return sorted(there, key=lambda automation: automation.name)


def _put(client: SyncPrefectClient, wanted: AutomationCore, there: Automation | None) -> Change:
    if there is None:
        client.create_automation(wanted)
        return "created"
    if _content(there) == _content(wanted):
        return "unchanged"  # a trigger that is written anew forgets since when it waits
    client.update_automation(
        there.id, AutomationCore(**wanted.model_dump(exclude={"owner_resource"}))
    )
    return "changed"


def _content(automation: AutomationCore) -> dict[str, object]:
    plain = AutomationCore.model_validate(automation.model_dump(mode="json"))
    return plain.model_dump(exclude={"owner_resource"})


def _client() -> SyncPrefectClient:
    if not PREFECT_API_URL.value():
        raise ConfigError(
            "automations live on a Prefect server that goes on running, and none is named: start "
            "one (`prefect server start`) and say `export PREFECT_API_URL=http://HOST:4200/api`"
        )
    return get_client(sync_client=True)


def _links(client: SyncPrefectClient, config: AlertsConfig) -> tuple[str, dict[str, str]]:
    """Where Prefect's page is, and the page of each deployment that is watched."""
    ui = (config.ui or PREFECT_UI_URL.value() or "").rstrip("/")
    if not ui:
        raise ConfigError("ui is missing, and so is PREFECT_UI_URL: say where Prefect's page is")
    links = {}
    for schedule in config.schedules:
        try:
            found = client.read_deployment_by_name(schedule.deployment)
        except ObjectNotFound as error:
            there = client.read_deployments()
            known = [f"{client.read_flow(one.flow_id).name}/{one.name}" for one in there]
            raise ConfigError(
                f"schedules: Prefect has no deployment {schedule.deployment}, but "
                f"{', '.join(sorted(known)) or 'none'}; make it by `prefect --no-prompt deploy "
                "--all`"
            ) from error
        links[schedule.deployment] = f"{ui}/deployments/deployment/{found.id}"
    return ui, links
