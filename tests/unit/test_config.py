from pathlib import Path

import pytest
import yaml

from gradgate.config import FinetuneConfig, PolicyConfig, PowerConfig, load_config
from gradgate.errors import ConfigError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.rehearsal.config import RehearsalConfig
from gradgate.train.config import GatedFinetuneConfig

EXAMPLE = Path(__file__).parents[2] / "gate.example.yaml"
BASE = "data: {source: x}\nmodel: {path: m}\n"
SENTRY = "detection: {gradsentry: {"


def load(tmp_path: Path, text: str) -> GateConfig:
    (tmp_path / "gate.yaml").write_text(text)
    return load_config(tmp_path / "gate.yaml", GateConfig)


def test_sections_may_be_left_out(tmp_path: Path) -> None:
    config = load(tmp_path, BASE)
    assert (config.scoring.mode, config.scoring.k) == ("crop", 16)
    assert config.detection.gradsentry.without_valley == {}
    assert (config.detection.methods, config.detection.reference) == (["recurrence"], None)
    assert "badnets" in config.detection.power.attacks


def test_a_configuration_survives_yaml(tmp_path: Path) -> None:
    given = {
        "data": {"source": "x", "columns": {"prompt": "p", "completion": "c"}},
        "model": {"path": "m"},
        "detection": {
            "reference": "trusted.jsonl",
            "recurrence": {},
            "gradsentry": {"without_valley": {"too_few": "fail"}},
            "power": {"attacks": ["cba"]},
        },
        "finetune": {"target_modules": ["q_proj"]},
    }
    config = GatedFinetuneConfig.model_validate(given)
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config(path, GatedFinetuneConfig) == config


@pytest.mark.parametrize("preference", ["rejected", "both"])
def test_answers_that_people_turned_down_are_judged_and_not_trained_on(preference: str) -> None:
    given = {"data": {"source": "x", "preference": preference}, "model": {"path": "m"}}
    assert GateConfig.model_validate(given).data.preference == preference
    with pytest.raises(ValueError, match=f"data.preference {preference} takes answers"):
        GatedFinetuneConfig.model_validate(given)


def test_the_section_of_an_earlier_version_is_taken() -> None:
    needed = {"data": {"source": "x"}, "model": {"path": "m"}}
    config = GatedFinetuneConfig.model_validate({**needed, "lora": {"r": 16, "epochs": 1.0}})
    assert config.finetune == FinetuneConfig(kind="lora", r=16, epochs=1.0)
    with pytest.raises(ValueError, match="lora and finetune are the same; leave lora out"):
        GatedFinetuneConfig.model_validate({**needed, "lora": {}, "finetune": {}})


def test_the_example_shows_the_defaults() -> None:
    config = load_config(EXAMPLE, GateConfig)
    shown = yaml.safe_load(EXAMPLE.read_text())
    named = config.detection.gradsentry.without_valley
    sentry = GradsentryConfig(without_valley=named)
    assert config.detection == DetectionConfig(gradsentry=sentry)
    assert named == {"no_valley": "published_constant"}
    # Method recurrence has no settings, and the other two are shown as comments.
    unsaid = {"recurrence", "reference", "rehearsal"}
    assert set(shown["detection"]) == set(DetectionConfig.model_fields) - unsaid
    assert set(shown["detection"]["rehearsals"]) == set(RehearsalConfig.model_fields)
    assert set(shown["detection"]["power"]) == set(PowerConfig.model_fields)
    assert set(shown["detection"]["gradsentry"]) == set(GradsentryConfig.model_fields)
    assert config.policy == PolicyConfig()


def test_keys_and_names_of_earlier_versions_mean_what_they_meant(tmp_path: Path) -> None:
    old = (
        "detection: {method: gradgate}\n"
        "threshold: {method: fixed, value: 0.6}\n"
        "policy: {review_above: 0.01, without_valley: {too_few: fail}}\n"
    )
    new = (
        "detection:\n"
        "  methods: [recurrence]\n"
        "  gradsentry:\n"
        "    threshold: {method: fixed, value: 0.6}\n"
        "    without_valley: {too_few: fail}\n"
        "policy: {review_above: 0.01}\n"
    )
    assert load(tmp_path, BASE + old) == load(tmp_path, BASE + new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data\.source is missing; model\.path is missing"),
        ("- 1", "holds no sections but list"),
        ("data: [", "cannot read"),
        ("data: {source: x}\n", "model"),
        (BASE + "polcy: {}\n", "polcy"),
        (BASE + "policy: {max_poison_fraction: 1.5}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: .nan}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: yes}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: '0.5'}\n", "max_poison_fraction"),
        (BASE + "policy: {review_above: 0.5}\n", "must not be larger"),
        (BASE + "policy: {max_harmful_fraction: 1.5}\n", "max_harmful_fraction"),
        (BASE + "policy: {harmful_review_above: .nan}\n", "harmful_review_above"),
        (
            BASE + "policy: {harmful_review_above: 0.5}\n",
            "harmful_review_above .* must not be larger than policy.max_harmful_fraction",
        ),
        (BASE + "policy: {flagged: drop, flagged: block}\n", "given twice: flagged"),
        (
            BASE + "policy: {in_doubt: ignore}\n",
            "policy.in_doubt: .*'keep', 'quarantine' or 'block'",
        ),
        (BASE + "policy: {max_copies: 0}\n", "policy.max_copies: .*greater than or equal to 1"),
        (BASE + "policy: {max_copies: 2.5}\n", "policy.max_copies: .*integer"),
        (BASE + "policy: {expected: [fine, '/(/']}\n", r"policy.expected: '/\(/' is not a regular"),
        (BASE + "policy: {expected: ['/a?/']}\n", "policy.expected: .*matches the empty text"),
        (BASE + "policy: {expected: Yours}\n", "policy.expected: .*list"),
        (BASE + "policy: {}\npolicy: {review_above: 0.0}\n", "given twice: policy"),
        (BASE + SENTRY + "without_valley: {no_vally: pass}}}\n", "no_vally"),
        (BASE + SENTRY + "without_valley: {no_valley: ignore}}}\n", "without_valley"),
        (BASE + SENTRY + "threshold: {method: fixed}}}\n", "threshold.value"),
        (BASE + SENTRY + "threshold: {value: 0.5}}}\n", "threshold.value"),
        (BASE + SENTRY + "threshold: {}}}\nthreshold: {seed: 1}\n", "leave threshold out"),
        (BASE + "detection: {gradsentri: {}}\n", "gradsentri is unknown"),
        (BASE + "scoring: {k: true}\n", "scoring.k"),
        (BASE + "detection: {method: gradguard}\n", "gradsentry, recurrence"),
        (BASE + "detection: {method: gradsentry, reference: x}\n", "detection.reference"),
        (BASE + "detection: {recurrence: {fdr: 1.0}}\n", "detection.recurrence.fdr"),
        (BASE + "detection: {power: {attacks: [badnet]}}\n", "detection.power.attacks"),
        (BASE + "detection: {power: {min_planted: 0}}\n", "detection.power.min_planted"),
        (BASE + "detection: {power: {}, pwoer: {}}\n", "pwoer"),
        ("data: {source: !!python/name:os.system x}\nmodel: {path: m}\n", "cannot read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml", GateConfig)


def test_a_rehearsal_takes_no_more_than_a_part_of_the_fine_tuning() -> None:
    needed = {"data": {"source": "x"}, "model": {"path": "m"}}
    gate = GateConfig.model_validate(needed)
    assert (gate.rehearsal, gate.rehearsals.visits_per_row) == ("off", 1.2)
    gated = GatedFinetuneConfig.model_validate({**needed, "finetune": {"epochs": 1.0}})
    assert (gated.rehearsal, gated.rehearsals.visits_per_row) == ("doubtful", 0.4)
    assert (gated.rehearsals.batch_size, gated.rehearsals.target_modules) == (4, "all-linear")
    small = {**needed, "finetune": {"batch_size": 1, "target_modules": ["q_proj"]}}
    rehearsals = GatedFinetuneConfig.model_validate(small).rehearsals
    assert (rehearsals.batch_size, rehearsals.target_modules) == (1, ["q_proj"])
    with pytest.raises(ValueError, match="nothing of method gradsentry is rehearsed"):
        DetectionConfig.model_validate({"methods": ["gradsentry"], "rehearsal": "full"})
    off = {**needed, "detection": {"rehearsal": "off"}}
    assert GatedFinetuneConfig.model_validate(off).rehearsal == "off"
