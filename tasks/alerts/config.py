"""Which alerts there are, and where their messages go: alerts.example.yaml shows all of it.

No secret stands in the file: it names variables of the environment, or blocks of Prefect.
"""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gradgate.config import Section

Kind = Literal["rejected", "needs_review", "not_decided", "broken"]
# The states of each kind. Whatever a flow run that no person ended may end as is one of them, or
# Completed.
STATES: dict[Kind, tuple[str, ...]] = {
    "rejected": ("Rejected",),
    "needs_review": ("NeedsReview",),
    "not_decided": ("NotDecided",),
    "broken": ("Failed", "Crashed", "TimedOut"),
}
FLOWS = ("gate", "gated-finetune", "approve", "drill", "compare")
MIN_SECONDS = 10.0  # Prefect watches no shorter time
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _no_secret(name: str | None) -> str | None:
    """The name of a variable; what is none may be the secret itself, so it is not shown."""
    if name is not None and not _VARIABLE.fullmatch(name):
        raise ValueError(
            "is no name of an environment variable; put the secret into one, say its name here, "
            "and change a secret that has stood in this file"
        )
    return name


class EmailConfig(Section):
    """Mail by a server of your own."""

    server: str = Field(pattern=r"^[A-Za-z0-9.:-]+$", description="Name of the mail server.")
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "ssl", "insecure"] = Field(
        "starttls", description="insecure: mail and password go in plain text."
    )
    user: str | None = None
    password: str | None = Field(None, description="Variable with the password.")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    to: list[str] = Field(min_length=1)

    _password = field_validator("password")(_no_secret)


class ChannelConfig(Section):
    """Where messages go; one of the four."""

    slack: str | None = Field(None, description="Variable with the URL of an incoming webhook.")
    email: EmailConfig | None = None
    webhook: str | None = Field(
        None, description="Variable with a URL; it gets a POST of JSON with subject and body."
    )
    block: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="A notification block that Prefect has: type/name.",
    )

    _variables = field_validator("slack", "webhook")(_no_secret)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs one of {', '.join(type(self).model_fields)}, not "
                f"{' and '.join(given) or 'none'}"
            )
        return self


class KindsConfig(Section):
    """Who is told how a run ended. Every channel where nothing is said; `[]`: nobody."""

    rejected: list[str] | None = Field(None, description="The verdict is fail.")
    needs_review: list[str] | None = Field(
        None, description="The verdict is review, or what was trained is held back."
    )
    not_decided: list[str] | None = Field(None, description="The gate could not decide.")
    broken: list[str] | None = Field(None, description="The run failed, crashed or took too long.")


class ScheduleConfig(Section):
    """A deployment that has to come to a verdict again and again."""

    deployment: str = Field(pattern=r"^[^/{}]+/[^/{}]+$", description="flow/deployment")
    hours: float = Field(
        ge=MIN_SECONDS / 3600,
        description="From one verdict to the next; longer than the time between two runs.",
    )
    to: list[str] | None = Field(None, description="Channels; all when absent.")


class AlertsConfig(Section):
    """What `python -m flows automations apply` makes."""

    ui: str | None = Field(
        None,
        pattern=r"^https?://[^\s{}@]+$",
        description="Where Prefect's page is for those who read the messages; PREFECT_UI_URL when "
        "absent.",
    )
    channels: dict[str, ChannelConfig]
    flows: list[str] = Field(list(FLOWS), description="Names of the flows whose runs are watched.")
    alerts: KindsConfig = KindsConfig()
    schedules: list[ScheduleConfig] = Field([], description="Deployments that are watched.")
    silent_minutes: float | None = Field(
        None,
        ge=MIN_SECONDS / 60,
        description="A run without a sign of life for so long is closed as Crashed; three times "
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY (180 s) or more. Never when absent.",
    )

    @field_validator("channels")
    @classmethod
    def _names_of_blocks(cls, channels: dict[str, ChannelConfig]) -> dict[str, ChannelConfig]:
        for name in channels:
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                raise ValueError(
                    f"the channel {name!r} may have lower case letters, digits and single hyphens"
                )
        return channels

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        asked = {f"alerts.{kind}": getattr(self.alerts, kind) for kind in STATES}
        asked |= {f"schedules {one.deployment}": one.to for one in self.schedules}
        for where, names in asked.items():
            unknown = sorted(set(names or []) - set(self.channels))
            if unknown:
                raise ValueError(
                    f"{where}: there is no channel {', '.join(unknown)}; "
                    f"channels are {', '.join(self.channels) or 'none'}"
                )
        deployments = [one.deployment for one in self.schedules]
        twice = sorted({name for name in deployments if deployments.count(name) > 1})
        if twice:
            raise ValueError(f"schedules: given twice: {', '.join(twice)}")
        return self

    def told(self, names: list[str] | None) -> list[str]:
        """The channels of an alert; all where nothing is said."""
        return list(self.channels) if names is None else names
