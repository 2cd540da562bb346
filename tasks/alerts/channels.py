"""Channels become notification blocks of Prefect, which keep their secrets encrypted."""

import os
from urllib.parse import quote, urlencode
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import SecretStr

from gradgate.errors import ConfigError
from tasks.alerts.config import ChannelConfig, EmailConfig

PREFIX = "gradgate-alerts-"  # of the names of all blocks that are made here, and of no others
_TYPES = (SlackWebhook, CustomWebhookNotificationBlock)
_SLACK = ("https://hooks.slack.com/services/", "https://hooks.slack-gov.com/services/")


def secrets_of(channels: dict[str, ChannelConfig]) -> dict[str, str]:
    """The value of every variable that channels name.

    Raises:
        ConfigError: One of them is not set; nothing was changed.
    """
    asked = {}
    for name, channel in channels.items():
        given = [channel.slack, channel.webhook, channel.email and channel.email.password]
        asked.update({variable: name for variable in given if variable})
    for variable, name in asked.items():
        if not os.environ.get(variable, "").strip():
            raise ConfigError(
                f"channels.{name}: the variable {variable} is not set; say `export {variable}=...`"
            )
    return {variable: os.environ[variable].strip() for variable in asked}


def block_of(
    client: SyncPrefectClient, name: str, channel: ChannelConfig, secrets: dict[str, str]
) -> NotificationBlock:
    """The block by which a channel is told; made, or made anew, unless it is somebody else's.

    Args:
        client: Of the server that sends.
        name: Of the channel.
        channel: What it is.
        secrets: By the names of the variables.

    Raises:
        ConfigError: There is no such block, or a value is none that it can use.
    """
    if channel.block is not None:
        return _existing(client, name, channel.block)
    made = _made(name, channel, secrets)
    made.save(f"{PREFIX}{name}", overwrite=True)
    return made


def id_of(block: NotificationBlock) -> UUID:
    """The id of a block that is saved."""
    found = block._block_document_id
    assert found is not None
    return found


def remove_unused(client: SyncPrefectClient, used: set[UUID]) -> None:
    """Delete blocks that were made here and that no channel needs any more."""
    for kind in _TYPES:
        try:
            found = client.read_block_documents_by_type(kind.get_block_type_slug())
        except ObjectNotFound:
            continue
        for document in found:
            if (document.name or "").startswith(PREFIX) and document.id not in used:
                client.delete_block_document(document.id)


def _existing(client: SyncPrefectClient, name: str, path: str) -> NotificationBlock:
    slug, _, block_name = path.partition("/")
    try:
        document = client.read_block_document_by_name(block_name, slug)
        block = Block._from_block_document(document)
    except (ObjectNotFound, ValueError) as error:
        raise ConfigError(
            f"channels.{name}: Prefect has no block {path}; make it on its page (Blocks), or name "
            "a variable for slack or webhook"
        ) from error
    if not isinstance(block, NotificationBlock):
        raise ConfigError(f"channels.{name}: the block {path} cannot send notifications")
    return block


def _made(name: str, channel: ChannelConfig, secrets: dict[str, str]) -> NotificationBlock:
    """No error shows the value, which is a secret."""
    if channel.email is not None:
        # Prefect has no block for mail servers; this one hands any URL of Apprise to Apprise.
        return SlackWebhook(url=SecretStr(_mail_url(channel.email, secrets)))
    variable = channel.slack or channel.webhook
    assert variable is not None
    url = secrets[variable]
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"channels.{name}: the variable {variable} holds no http(s) URL")
    if channel.slack is None:
        return CustomWebhookNotificationBlock(
            name=name,
            url="{{url}}",  # from the secrets, for the field itself is shown
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
            secrets=SecretDict({"url": url}),
        )
    if not url.startswith(_SLACK):
        raise ConfigError(
            f"channels.{name}: the variable {variable} holds no URL of an incoming webhook of "
            "Slack (https://hooks.slack.com/services/...); for other receivers say webhook"
        )
    return SlackWebhook(url=SecretStr(url))


def _mail_url(email: EmailConfig, secrets: dict[str, str]) -> str:
    login = "" if email.user is None else quote(email.user, safe="")
    if email.password is not None:
        login += f":{quote(secrets[email.password], safe='')}"
    options = {"from": email.sender, "to": ",".join(email.to), "mode": email.security}
    scheme = "mailto" if email.security == "insecure" else "mailtos"
    where = f"{login}@{email.server}" if login else email.server
    return f"{scheme}://{where}:{email.port}/?{urlencode({**options, 'format': 'text'})}"
