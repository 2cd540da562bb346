"""The automations that a configuration of alerts stands for."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tasks.alerts import messages
from tasks.alerts.config import STATES, AlertsConfig, ScheduleConfig

OWNER = (
    "gradgate.alerts"  # the resource that owns the automations in Prefect, by which ours are known
)
# What shows that a deployment came to a verdict; a run that fails, crashes or is cancelled did not.
VERDICTS = frozenset(
    f"prefect.flow-run.{state}"
    for state in ("Completed", *STATES["rejected"], *STATES["needs_review"], *STATES["not_decided"])
)
# Of a run that has to go on; `Submitting` and `InfrastructurePending` are a worker's, before a
# process begins.
_SIGNS = (
    "Pending", "Submitting", "InfrastructurePending", "Running", "Cancelling", "heartbeat",
)  # fmt: skip
_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def automations_of(
    config: AlertsConfig, ui: str, blocks: dict[str, UUID], links: dict[str, str]
) -> list[AutomationCore]:
    """All automations; one that would tell nobody is none.

    Args:
        config: The file.
        ui: Where Prefect's page is.
        blocks: Ids by channel.
        links: To each deployment.
    """
    found = [*_on_runs(config, ui, blocks)]
    for schedule in config.schedules:
        found.append(_on_schedule(schedule, config, blocks, links[schedule.deployment]))
    if config.silent_minutes is not None:
        found.append(_on_silence(config.flows, config.silent_minutes))
    return [automation for automation in found if automation.actions]


def _on_runs(config: AlertsConfig, ui: str, blocks: dict[str, UUID]) -> Iterator[AutomationCore]:
    """One for each kind of end."""
    for kind, states in STATES.items():
        names = config.told(getattr(config.alerts, kind))
        trigger = EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in states},
            match=_RUNS,
            match_related=[_related("flow", *config.flows)],
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        )
        told = _told(names, blocks, *messages.of_a_run(kind, ui))
        yield _automation(f"gradgate: {', '.join(states)}", trigger, told)


def _on_schedule(
    schedule: ScheduleConfig, config: AlertsConfig, blocks: dict[str, UUID], link: str
) -> AutomationCore:
    """Of a deployment that comes to no verdict.

    A trigger without `after` looks at windows of fixed length, one behind the other, and may miss
    a verdict that is missing where the ones before and behind it fall into two windows. With
    `after` it counts anew from each verdict. Before the first it counts from when it was made.
    """
    flow, _, name = schedule.deployment.partition("/")
    trigger = EventTrigger(
        after=set(VERDICTS),
        expect=set(VERDICTS),
        match=_RUNS,
        match_related=[_related("flow", flow), _related("deployment", name)],
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(hours=schedule.hours),
    )
    text = messages.of_a_schedule(schedule.deployment, schedule.hours, link)
    told = _told(config.told(schedule.to), blocks, *text)
    return _automation(f"gradgate: {schedule.deployment}: no verdict", trigger, told)


def _on_silence(flows: list[str], minutes: float) -> AutomationCore:
    """Of a run that gives no sign of life: it ends, for nobody else would free its slot.

    A worker that was killed together with its run tells nobody, and neither does one that was
    killed before the process of a run began. Prefect counts both as going on, and the work pool
    starts no other run meanwhile.
    """
    trigger = EventTrigger(
        after={f"prefect.flow-run.{sign}" for sign in _SIGNS},
        expect={"prefect.flow-run.*"},
        match=_RUNS,
        match_related=[_related("flow", *flows)],
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(minutes=minutes),
    )
    told = f"its process gave no sign of life for {minutes:g} minutes"
    crashed = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=told)
    return _automation("gradgate: no sign of life", trigger, [crashed])


def _related(role: str, *names: str) -> ResourceSpecification:
    return ResourceSpecification(
        {"prefect.resource.role": role, "prefect.resource.name": list(names)}
    )


def _told(
    names: list[str], blocks: dict[str, UUID], subject: str, body: str
) -> list[SendNotification]:
    return [
        SendNotification(block_document_id=blocks[name], subject=subject, body=body)
        for name in names
    ]


def _automation(
    name: str, trigger: EventTrigger, actions: Sequence[SendNotification | ChangeFlowRunState]
) -> AutomationCore:
    return AutomationCore(
        name=name,
        description="Made by `python -m flows automations apply`, which also changes and removes "
        "it. Change the file, not this.",
        enabled=True,
        tags=["gradgate"],
        trigger=trigger,
        actions=list(actions),
        actions_on_trigger=[],
        actions_on_resolve=[],
        owner_resource=OWNER,
    )
