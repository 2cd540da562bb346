import pytest

from gradgate.config import GateConfig, load_config
from gradgate.errors import ConfigError

BASE = "data: {source: x}\nmodel: {path: m}\n"


def load(tmp_path, text: str) -> GateConfig:
    (tmp_path / "gate.yaml").write_text(text)
    return load_config(tmp_path / "gate.yaml", GateConfig)


def test_sections_may_be_left_out(tmp_path):
    config = load(tmp_path, BASE)
    assert (config.scoring.mode, config.scoring.k) == ("crop", 16)
    assert config.policy.without_valley == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "GateConfig"),
        ("- 1", "GateConfig"),
        ("data: [", "cannot read"),
        ("data: {source: x}\n", "model"),
        (BASE + "polcy: {}\n", "polcy"),
        (BASE + "policy: {max_poison_fraction: 1.5}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: .nan}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: yes}\n", "max_poison_fraction"),
        (BASE + "policy: {max_poison_fraction: '0.5'}\n", "max_poison_fraction"),
        (BASE + "policy: {review_above: 0.5}\n", "must not be larger"),
        (BASE + "policy: {flagged: drop, flagged: block}\n", "given twice: flagged"),
        (BASE + "policy: {}\npolicy: {review_above: 0.0}\n", "given twice: policy"),
        (BASE + "policy: {without_valley: {no_vally: pass}}\n", "no_vally"),
        (BASE + "policy: {without_valley: {no_valley: ignore}}\n", "without_valley"),
        (BASE + "threshold: {method: fixed}\n", "threshold.value"),
        (BASE + "threshold: {value: 0.5}\n", "threshold.value"),
        (BASE + "scoring: {k: true}\n", "scoring.k"),
        ("data: {source: !!python/name:os.system x}\nmodel: {path: m}\n", "cannot read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml", GateConfig)
