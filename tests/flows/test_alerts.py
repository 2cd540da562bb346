"""Alerts through a real Prefect server to real receivers."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from flow_helpers import config as gate_config
from flow_helpers import entropy_alone
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running
from receiver_helpers import Receiver, mail_server, receiving, wait_until

from flows.cli import app
from flows.gate import gate
from gradgate.cli.running import run
from gradgate.config import PolicyConfig
from gradgate.methods.gradsentry.config import ThresholdConfig
from helpers import diverse_rows, write_jsonl
from tasks.alerts.automations import OWNER
from tasks.alerts.channels import PREFIX
from tasks.alerts.messages import SUMMARY

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]
QUIET: dict[str, Any] = {
    "alerts": {kind: [] for kind in ("rejected", "needs_review", "not_decided", "broken")}
}
UI = "http://prefect.example.com:4200"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv("ALERTS_URL", f"{found.url}/secret-path")
        yield found


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Where the file lies; nothing of it stays on the server, which other tests use."""
    path = tmp_path / "alerts.yaml"
    yield path
    write(path, channels={}, **QUIET)
    assert run(app, ["automations", "apply", str(path)]) == 0


def write(path: Path, **content: Any) -> None:
    path.write_text(yaml.safe_dump({"ui": UI, **content}, sort_keys=False), encoding="utf-8")


def applied(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `apply` says that it has done."""
    capsys.readouterr()
    code = run(app, ["automations", "apply", str(path)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return [re.sub(" +", " ", line) for line in shown.out.splitlines()]


HOOK = {"hook": {"webhook": "ALERTS_URL"}}


def test_a_review_tells_the_receiver_once(
    state: Path,
    tmp_path: Path,
    file: Path,
    receiver: Receiver,
    client: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(file, channels=HOOK)
    applied(file, capsys)
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(40))
    lenient = PolicyConfig(max_poison_fraction=1.0, review_above=0.0)
    found = entropy_alone(ThresholdConfig(method="fixed", value=0.01))
    ended = gate(gate_config(source, policy=lenient, detection=found), return_state=True)
    assert ended.name == "NeedsReview", ended.message
    deployed(client, "another/x", Failed(name="NeedsReview", message="of another flow"))
    deployed(client, "drill/x", Crashed(message="ValueError: <@channel> zanzibar"))
    deployed(client, "drill/y", Failed(name="Rejected", message="target span 'zanzibar'"))
    wait_until(lambda: len(receiver.received) >= 3, 30, "all alerts")
    crash, review, rejected = sorted(receiver.received, key=lambda message: message["subject"])
    assert review["subject"].startswith("gradgate: NeedsReview: ")
    assert "review: 40 of 40 rows flagged as poisoned (limit 100 %), 0 in doubt" in review["body"]
    assert f"{UI}/runs/flow-run/{ended.state_details.flow_run_id}" in review["body"]
    assert ": ValueError\n" in crash["body"]
    assert "no figures: look at the run\n" in rejected["body"]
    assert "zanzibar" not in str(receiver.received)
    assert receiver.paths == ["/secret-path"] * 3
    assert "secret-path" not in file.read_text()


def deployed(client: SyncPrefectClient, name: str, *ends: State[Any]) -> list[UUID]:
    """A deployment, and runs of it that ended, or that are on their way."""
    flow, _, name = name.partition("/")
    deployment = client.create_deployment(flow_id=client.create_flow_from_name(flow), name=name)
    runs = [client.create_flow_run_from_deployment(deployment).id for _ in ends]
    for run_id, end in zip(runs, ends, strict=True):
        client.set_flow_run_state(run_id, end, force=True)
    return runs


@pytest.mark.slow
def test_a_schedule_that_comes_to_no_verdict(
    file: Path,
    receiver: Receiver,
    client: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deployed(client, "gate/never-ran")
    deployed(client, "gate/stopped")
    hours = 10.5 / 3600
    watched = [{"deployment": f"gate/{name}", "hours": hours} for name in ("never-ran", "stopped")]
    write(file, channels=HOOK, schedules=watched, **QUIET)
    assert len(applied(file, capsys)) == 2
    time.sleep(5)
    deployed(client, "gate/stopped", Completed(), Crashed(), Cancelled())
    last = time.monotonic()
    wait_until(lambda: len(receiver.received) >= 2, 40, "both alerts")
    assert time.monotonic() - last > 10  # it counts from the verdict, not from windows of its own
    assert receiver.subjects() == [
        f"gradgate: gate/{name} came to no verdict" for name in ("never-ran", "stopped")
    ]
    assert all(f"{UI}/deployments/deployment/" in one["body"] for one in receiver.received)


@pytest.mark.slow
def test_a_run_without_a_sign_of_life_is_closed(
    file: Path, client: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, channels={}, silent_minutes=10.5 / 60, **QUIET)
    assert applied(file, capsys) == ["created gradgate: no sign of life"]
    dead = deployed(client, "gate/silent", Running(), Pending(name="Submitting"))
    others = deployed(client, "another/silent", Running())
    others += (over := deployed(client, "gate/over", Running()))
    client.set_flow_run_state(over[0], Failed(name="Rejected"), force=True)

    def states(runs: list[UUID]) -> list[str | None]:
        return [client.read_flow_run(one).state_name for one in runs]

    wait_until(lambda: states(dead) == ["Crashed", "Crashed"], 60, "both to be closed")
    assert states(others) == ["Running", "Rejected"]


def owned(client: SyncPrefectClient) -> dict[str, AutomationCore]:
    return {a.name: a for a in client.read_resource_related_automations(OWNER)}


def blocks(client: SyncPrefectClient) -> list[str]:
    found = client.read_block_documents()
    return sorted(str(one.name) for one in found if (one.name or "").startswith(PREFIX))


def test_the_server_has_what_the_file_says(
    file: Path,
    receiver: Receiver,
    client: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = AutomationCore(
        name="gradgate: Rejected", trigger=EventTrigger(expect={"none"}), actions=[]
    )
    theirs = client.create_automation(foreign)
    deployed(client, "gate/nightly")
    monkeypatch.setenv("SLACK_URL", "https://hooks.slack.com/services/T000/B000/XXX")
    both = {**HOOK, "team": {"slack": "SLACK_URL"}}
    watched = [{"deployment": "gate/nightly", "hours": 26.0}]
    write(file, channels=both, schedules=watched)
    names = ["gradgate: Rejected", "gradgate: NeedsReview", "gradgate: NotDecided"]
    names += ["gradgate: Failed, Crashed, TimedOut"]
    names += ["gradgate: gate/nightly: no verdict"]
    assert applied(file, capsys) == [f"created {name}" for name in names]
    first = client.read_resource_related_automations(OWNER)
    assert applied(file, capsys) == [f"unchanged {name}" for name in names]
    assert client.read_resource_related_automations(OWNER) == first  # its triggers' ids as well
    client.pause_automation(first[0].id)
    write(file, channels=HOOK, schedules=watched, alerts={"rejected": []})
    assert applied(file, capsys) == [
        *(f"changed {name}" for name in names[1:]),
        "removed gradgate: Rejected",
    ]
    assert {name for name, one in owned(client).items() if one.enabled} == set(names[1:])
    assert blocks(client) == [f"{PREFIX}hook"]
    assert run(app, ["automations", "show"]) == 0
    assert "on   gradgate: NeedsReview: tells 1 channel\n" in capsys.readouterr().out
    write(file, channels={}, **QUIET)
    assert applied(file, capsys) == [f"removed {name}" for name in sorted(names[1:])]
    assert (owned(client), blocks(client)) == ({}, [])
    kept = client.read_automation(theirs)
    assert kept is not None
    assert (kept.name, kept.enabled) == ("gradgate: Rejected", True)
    client.delete_automation(theirs)


def test_every_channel_can_be_tried(
    file: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = CustomWebhookNotificationBlock(name="x", url=f"{receiver.url}/ours", json_data={})
    ours.save("ours", overwrite=True)
    with mail_server() as mail:
        email = {
            "server": "127.0.0.1",
            "port": mail.server_address[1],
            "security": "insecure",
            "sender": "gate@example.com",
            "to": ["a@example.com"],
        }
        channels = {"mail": {"email": email}, "old": {"block": "custom-webhook/ours"}, **HOOK}
        write(file, channels=channels, **QUIET)
        assert run(app, ["automations", "test", str(file)]) == 0
    assert capsys.readouterr().out == "sent  mail\nsent  old\nsent  hook\n"
    (received,) = mail.mails
    assert "Subject: gradgate: a test" in received
    assert "To: a@example.com" in received
    assert "This is how alerts of gradgate arrive." in received
    assert receiver.received[1:] == [
        {"subject": "gradgate: a test", "body": "This is how alerts of gradgate arrive."}
    ]
    receiver.status = 500
    assert run(app, ["automations", "test", str(file)]) == 2
    assert "error: " in capsys.readouterr().err


def test_a_receiver_that_does_not_answer_is_named(
    file: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is not Prefect's server, and its address may be a secret."""
    write(file, channels=HOOK, **QUIET)
    receiver.status = 503
    assert run(app, ["automations", "test", str(file)]) == 2
    refused = capsys.readouterr().err
    monkeypatch.setenv("ALERTS_URL", "http://127.0.0.1:1/secret")
    assert run(app, ["automations", "test", str(file)]) == 2
    silent = capsys.readouterr().err
    assert silent.startswith(
        "error: channels.hook: the receiver does not answer from here (Connect"
    )
    for said in (refused, silent):
        assert "channels.hook" in said
        assert "secret" not in said
        assert "PREFECT_API_URL" not in said


def test_what_is_missing_is_named(
    file: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, text in {
        "channels: {a: {webhook: NOT_THERE}}": "the variable NOT_THERE is not set",
        "channels: {a: {slack: ALERTS_URL}}": "holds no URL of an incoming webhook of Slack",
        "channels: {a: {block: slack-webhook/nobody}}": "has no block slack-webhook/nobody",
        "{channels: {}, schedules: [{deployment: gate/nope, hours: 1}]}": "no deployment gate/nope",
    }.items():
        file.write_text(content, encoding="utf-8")
        assert run(app, ["automations", "apply", str(file)]) == 2
        error = capsys.readouterr().err
        assert text in error
        assert "secret-path" not in error


def test_the_label_of_the_run(state: Path, tmp_path: Path, client: SyncPrefectClient) -> None:
    ended = gate(gate_config(tmp_path / "nothing.jsonl"), return_state=True)
    assert ended.state_details.flow_run_id is not None
    ran = client.read_flow_run(ended.state_details.flow_run_id)
    assert SUMMARY not in ran.labels  # it broke: its alert names the kind of error alone
