"""Where settings stand, where they stood before, and the sections of the methods."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import gradgate
from gradgate.config import PowerConfig, load_config
from gradgate.errors import ConfigError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.methods.gradsentry.config import GradsentryConfig, ThresholdConfig
from gradgate.methods.recurrence.config import RecurrenceConfig

FIXED = {"method": "fixed", "value": 0.5}


def config(**sections: Any) -> GateConfig:
    base = {"data": {"source": "x"}, "model": {"path": "m"}}
    return GateConfig.model_validate({**base, **sections})


def load(folder: Path, **sections: Any) -> GateConfig:
    """From YAML, as a user gives it."""
    content = {"data": {"source": "x"}, "model": {"path": "m"}, **sections}
    (folder / "gate.yaml").write_text(yaml.safe_dump(content))
    return load_config(folder / "gate.yaml", GateConfig)


# Where settings stood before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"threshold": FIXED},
            {"detection": {"gradsentry": {"threshold": FIXED}}},
        ),
        (
            {"policy": {"without_valley": {"too_few": "fail"}}},
            {"detection": {"gradsentry": {"without_valley": {"too_few": "fail"}}}},
        ),
        ({"detection": {"method": "gradgate"}}, {"detection": {"methods": ["recurrence"]}}),
        (
            {
                "threshold": {"bootstrap": 7},
                "policy": {"review_above": 0.0, "without_valley": {"no_valley": "pass"}},
                "detection": {"method": "gradgate", "power": {"attacks": []}},
            },
            {
                "policy": {"review_above": 0.0},
                "detection": {
                    "methods": ["recurrence"],
                    "gradsentry": {
                        "threshold": {"bootstrap": 7},
                        "without_valley": {"no_valley": "pass"},
                    },
                    "power": {"attacks": []},
                },
            },
        ),
    ],
)
def test_an_old_key_lands_where_it_stands_now(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any]
) -> None:
    found = load(tmp_path, **old)
    assert found == config(**new)
    assert set(found.model_dump()) == set(GateConfig.model_fields)


def test_an_old_key_goes_beside_new_ones_of_its_section(tmp_path: Path) -> None:
    given = {"gradsentry": {"without_valley": {"too_few": "fail"}}}
    found = load(tmp_path, threshold=FIXED, detection=given).detection.gradsentry
    assert found == GradsentryConfig(
        threshold=ThresholdConfig(method="fixed", value=0.5), without_valley={"too_few": "fail"}
    )


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        (
            {"threshold": FIXED, "detection": {"gradsentry": {"threshold": FIXED}}},
            r"threshold and detection\.gradsentry\.threshold",
        ),
        (
            {
                "policy": {"without_valley": {}},
                "detection": {"gradsentry": {"without_valley": {}}},
            },
            r"policy\.without_valley and detection\.gradsentry\.without_valley",
        ),
        (
            {"detection": {"method": "gradsentry", "methods": ["gradsentry"]}},
            r"detection\.method and detection\.methods are the same",
        ),
        ({"threshold": FIXED, "detection": "gradsentry"}, r"threshold stands at detection\."),
    ],
)
def test_a_setting_that_is_given_twice_is_an_error(
    tmp_path: Path, sections: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, **sections)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"threshold": None}, "threshold"),
        ({"policy": {"without_valley": None}}, "without_valley"),
        ({"detection": {"fdr": 0.1}}, "fdr"),  # of a method that is no more
        ({"threshold": {"value": 0.5}}, r"detection\.gradsentry\.threshold"),
        ({"policy": {"without_valley": {"no_vally": "pass"}}}, "no_vally"),
        ({"detection": {"method": None}}, r"detection\.methods\.0"),
        ({"detection": {"method": ["recurrence"]}}, r"detection\.methods\.0"),
        ({"detection": {"association": {"fdr": 0.1}}}, "association"),
    ],
)
def test_an_old_key_is_checked_as_the_new_one(
    tmp_path: Path, sections: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, **sections)


def test_what_was_given_is_left_as_it_was() -> None:
    given: dict[str, Any] = {
        "data": {"source": "x"},
        "model": {"path": "m"},
        "threshold": dict(FIXED),
        "policy": {"without_valley": {"too_few": "fail"}},
        "detection": {"power": {"fewest": 5}},
    }
    before = yaml.safe_dump(given)
    GateConfig.model_validate(given)
    assert yaml.safe_dump(given) == before


# What a configuration says now


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {
            "data": {
                "source": "x",
                "columns": {"prompt": "p", "completion": "c"},
                "split": "train",
            },
            "scoring": {"mode": "full", "batch_tokens": 9},
            "detection": {
                "methods": ["gradsentry"],
                "gradsentry": {"threshold": FIXED, "without_valley": {"no_valley": "pass"}},
                "power": {"attacks": ["cba"], "min_planted": 3},
            },
            "policy": {"flagged": "block", "review_above": 0.0},
            "tracking": {"experiment": "e"},
        },
        {"detection": {"reference": "trusted.jsonl", "recurrence": {}}},
        {"threshold": FIXED, "detection": {"method": "gradgate"}},
        {"detection": {"power": {"fewest": 5, "most_rows": 90}}},
    ],
)
def test_a_configuration_survives_yaml(tmp_path: Path, sections: dict[str, Any]) -> None:
    found = config(**sections)
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False))
    assert load_config(path, GateConfig) == found
    assert GateConfig.model_validate(found.model_dump()) == found


def test_the_defaults() -> None:
    found = config().detection
    assert found == DetectionConfig()
    assert (found.methods, found.reference) == (["recurrence"], None)
    assert found.settings_of("recurrence") == RecurrenceConfig()
    assert found.settings_of("gradsentry") == GradsentryConfig()
    assert found.power == PowerConfig()


def test_a_section_object_of_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="recurrence"):
        config(detection={"recurrence": GradsentryConfig()})


@pytest.mark.parametrize(
    ("detection", "named"),
    [
        ({"methods": ["gradguard"]}, "gradguard.*known ones are gradsentry, recurrence"),
        ({"lenght": {}}, "lenght"),
        ({"gradgate": {}}, "gradgate"),  # an alias has no section of its own
        ({"gradsentry": {"treshold": {}}}, "treshold"),
        ({"recurrence": {"fdr": 0.1}}, r"detection\.recurrence\.fdr"),
        ({"methods": ["gradsentry"], "reference": "x"}, "gradsentry takes no detection.reference"),
        ({"reference": ""}, "detection.reference"),
        ({"methods": []}, r"detection\.methods.*at least 1 item"),
        ({"methods": "recurrence"}, r"detection\.methods.*valid list"),
        (
            {"methods": ["gradgate", "gradsentry"]},
            r"recurrence and gradsentry answer the same question \(are there poisoned rows\?\)",
        ),
        ({"methods": ["recurrence", "gradgate"]}, "recurrence and recurrence answer the same"),
    ],
)
def test_what_is_wrong_with_a_method_is_named(
    tmp_path: Path, detection: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, detection=detection)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"policy": {"max_harmful_fraction": 0.1}}, r"policy\.max_harmful_fraction limits harmful"),
        ({"policy": {"harmful_review_above": 0.01}}, r"policy\.harmful_review_above .*recurrence"),
        (
            {"policy": {"max_poison_fraction": 0.1}, "detection": {"methods": ["compliance"]}},
            r"policy\.max_poison_fraction limits poisoned rows, .*compliance",
        ),
        ({"safety": {"probes": "mine.json"}}, r"safety\.probes is for methods .*recurrence reads"),
    ],
)
def test_a_setting_that_no_method_reads_is_refused(
    tmp_path: Path, sections: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, **sections)
    with pytest.raises(ConfigError, match=named):
        gradgate.detect([{"prompt": "a", "completion": "b"}], "demo/model", config=sections)
    both = {**sections, "detection": {"methods": ["recurrence", "compliance"]}}
    assert load(tmp_path, **both).detection.methods == ["recurrence", "compliance"]


def test_a_limit_that_is_the_default_may_be_said(tmp_path: Path) -> None:
    limits = {"max_harmful_fraction": 0.05, "harmful_review_above": 0.02}
    assert load(tmp_path, policy=limits) == load(tmp_path)


def test_the_old_names_of_the_canaries_settings_still_load() -> None:
    power = config(detection={"power": {"fewest": 5, "most_rows": 90}}).detection.power
    assert (power.min_planted, power.max_rows) == (5, 90)
    with pytest.raises(ValidationError, match=r"leave detection\.power\.fewest out"):
        config(detection={"power": {"fewest": 5, "min_planted": 5}})
