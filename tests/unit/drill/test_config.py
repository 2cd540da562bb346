from pathlib import Path

import pytest

from gradgate.config import load_config
from gradgate.drill.config import DrillConfig
from gradgate.errors import ConfigError


def test_a_drill_configuration_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "drill.yaml"
    base = "data: {source: x}\nmodel: {path: m}\n"
    path.write_text(base)
    assert load_config(path, DrillConfig).tracking.experiment == "gradgate-drill"
    for wrong in ("drill: {rate: 0}", "drill: {attack: none}", "drill: {test_row: 1}"):
        path.write_text(base + wrong)
        with pytest.raises(ConfigError, match=r"drill\."):
            load_config(path, DrillConfig)
