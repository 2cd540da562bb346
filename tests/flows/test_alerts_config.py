"""What a file of alerts may say, and what a message may not."""

from typing import Any

import pytest
import yaml
from markdown_helpers import ROOT

from flows.outcome import STATE_NAMES
from gradgate.config import Section, check_config, load_config
from gradgate.errors import ConfigError
from gradgate.gate.verdict import Answer, Verdict
from gradgate.report.brief import in_figures
from tasks.alerts.config import (
    FLOWS,
    STATES,
    AlertsConfig,
    ChannelConfig,
    EmailConfig,
    KindsConfig,
    ScheduleConfig,
)

EXAMPLE = ROOT / "alerts.example.yaml"
HOOK = {"channels": {"a": {"webhook": "V"}}}


def refusal(content: Any) -> str:
    with pytest.raises(ConfigError) as found:
        check_config(content, AlertsConfig, "alerts.yaml")
    return str(found.value)


def test_the_example_is_right_and_shows_every_field() -> None:
    shown = load_config(EXAMPLE, AlertsConfig)
    assert shown.told(None) == ["team", "mail", "hook"]
    text = EXAMPLE.read_text(encoding="utf-8")
    sections: list[type[Section]] = [
        AlertsConfig, ChannelConfig, EmailConfig, KindsConfig, ScheduleConfig,
    ]  # fmt: skip
    for section in sections:
        for name in section.model_fields:
            assert f"{name}:" in text, f"alerts.example.yaml lacks {name}"


def test_every_state_and_every_deployed_flow_is_watched() -> None:
    watched = {state for states in STATES.values() for state in states}
    assert watched >= {*STATE_NAMES.values(), "Failed", "Crashed"} - {"Completed"}
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entrypoints = [one["entrypoint"].partition(":")[2].replace("_", "-") for one in deployed]
    assert set(entrypoints) <= set(FLOWS)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"channels": {"a": {}}},
            "channels.a: needs one of slack, email, webhook, block",
        ),
        ({"channels": {"a": {"slack": "A", "webhook": "B"}}}, "not slack and webhook"),
        ({"channels": {"A_b": {"slack": "A"}}}, "channel 'A_b' may have lower case letters"),
        ({**HOOK, "alerts": {"rejected": ["b"]}}, "alerts.rejected: there is no channel b"),
        ({**HOOK, "alerts": {"reject": ["a"]}}, "alerts.reject is unknown"),
        ({**HOOK, "schedules": [{"deployment": "gate", "hours": 1.0}]}, "deployment"),
        ({**HOOK, "schedules": [{"deployment": "a/{{x}}", "hours": 1.0}]}, "deployment"),
        ({**HOOK, "schedules": [{"deployment": "a/b", "hours": 0.001}]}, "hours"),
        ({**HOOK, "schedules": [{"deployment": "a/b", "hours": 1.0}] * 2}, "given twice: a/b"),
        ({**HOOK, "ui": "http://x/{{y}}"}, "ui"),
    ],
)
def test_what_is_wrong_is_named(content: Any, text: str) -> None:
    assert text in refusal(content)


@pytest.mark.parametrize("field", ["slack", "webhook"])
def test_a_secret_in_the_file_is_refused_and_not_shown(field: str) -> None:
    url = "https://hooks.slack.com/services/T000/B000/XXX"
    said = refusal({"channels": {"a": {field: url}}})
    assert "is no name of an environment variable" in said
    assert "hooks.slack.com" not in said


def test_a_password_in_the_file_is_refused_and_not_shown() -> None:
    email = {"server": "x", "sender": "a@b.c", "to": ["a@b.c"], "password": "hunter-2"}
    said = refusal({"channels": {"a": {"email": email}}})
    assert "is no name of an environment variable" in said
    assert "hunter" not in said


def test_every_channel_is_told_unless_the_file_says_otherwise() -> None:
    found = check_config({**HOOK, "alerts": {"broken": []}}, AlertsConfig, "x")
    assert found.told(found.alerts.rejected) == ["a"]
    assert found.told(found.alerts.broken) == []


def test_figures_quote_nothing() -> None:
    poisoned = Answer("poisoned", "recurrence", "review", ["'evil'"], 3, 4, limit=0.05)
    harmful = Answer("harmful", "evil", "error", ["'evil'"], None, 2)
    verdict = Verdict("error", ["'evil'"], 105, 5, 100, answers=[poisoned, harmful])
    assert in_figures(verdict) == (
        "error: 3 of 100 rows flagged as poisoned (limit 5 %), 4 in doubt; whether rows are "
        "harmful is not decided, 2 in doubt; 5 of 105 rows are no samples"
    )
    assert in_figures(Verdict("error", ["evil"])) == "error: nothing was judged"
