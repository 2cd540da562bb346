"""One new class and one registration make a method that everything knows."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from method_helpers import LONG, Longest, LongestConfig, registered, some_rows

import gradgate
from benchmarks.matrix.methods import ScoredRows, all_methods, detect_rows
from gradgate.common.run_folder import RunFolder
from gradgate.config import Section, check_config, load_config
from gradgate.errors import ConfigError, MethodError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.decide import NO_HARMFUL_CANARIES
from gradgate.gate.findings import Scored
from gradgate.gate.pipeline import judge
from gradgate.methods import registry
from gradgate.methods.contract import Question
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.registry import (
    RESERVED,
    canonical_name,
    method_named,
    method_names,
    register_method,
)
from helpers import MODEL, scored_rows

BUILT_IN = ["gradsentry", "recurrence", "compliance", "gradshield", "gradshield_published"]
BUILT_IN += ["graceful", "cube", "spectral_signatures", "activation_clustering", "spectre"]
BUILT_IN += ["onion", "anchoring", "larf", "length", "loss", "random", "gradient_norm"]
BUILT_IN += ["refusal_first", "keyword"]


@pytest.fixture
def longest() -> Iterator[type[Longest]]:
    """The made-up method, registered for the time of a test."""
    with registered(Longest) as method:
        yield method


# Everything knows it


@pytest.mark.usefixtures("longest")
def test_the_library_judges_by_it_and_shows_it(tmp_path: Path) -> None:
    config = {
        "model": {"device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "detection": {
            "methods": ["longest"],
            "longest": {"max_characters": 100},
            "power": {"attacks": ["long", "badnets"]},
        },
    }
    found = gradgate.detect(some_rows(), str(MODEL), config=config)
    answer = found.verdict.answer("harmful")
    assert answer is not None
    assert (answer.method, answer.n_flagged, answer.decision) == ("longest", 5, "review")
    assert answer.summary["longest"] > 100  # type: ignore[operator]
    assert found.verdict.answer("poisoned") is None
    table = found.to_pandas()
    assert table["row"][table["flagged"]].tolist() == LONG
    assert (table["target_characters"][LONG] > 100).all()
    assert table["target_characters"].equals(table["suspicion"])
    assert (answer.power, answer.blind_to) == (None, [])  # canaries are poison, and no harm
    assert answer.notes == NO_HARMFUL_CANARIES.not_tried

    folder = found.save(tmp_path / "evidence")
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = (folder / "verdict.md").read_text(encoding="utf-8")
    for shown in ("longest", "are there harmful rows? review", "Harmful fraction"):
        assert shown in page, shown
        assert shown in text, shown
    assert "characters" in page  # why each row is flagged
    assert "Row 50<" in page
    assert "Threshold" not in text


class LongestPoison(Longest):
    """The same of the other question."""

    name: ClassVar[str] = "longest_poison"
    question: ClassVar[Question] = "poisoned"


@pytest.mark.usefixtures("longest")
def test_canaries_are_planted_for_it_where_it_looks_for_poison(tmp_path: Path) -> None:
    register_method(LongestPoison)
    settings = {"max_characters": 100}
    power = {"attacks": ["long", "badnets"]}
    config = GateConfig.model_validate(
        {
            "data": {"source": "not read"},
            "model": {"path": str(MODEL)},
            "scoring": {"store": False},
            "detection": {
                "methods": ["longest", "longest_poison"],
                "longest_poison": settings,
                "power": power,
            },
        }
    )
    with pytest.raises(MethodError, match="longest has a signal target_characters as well"):
        judge(scored_rows(tmp_path, some_rows()), Scored(100, {}), config, RunFolder(tmp_path))
    alone = config.detection.model_copy(update={"methods": ["longest_poison"]})
    config = config.model_copy(update={"detection": alone})
    prepared = scored_rows(tmp_path, some_rows())
    (answer,) = judge(prepared, Scored(100, {}), config, RunFolder(tmp_path)).answers
    planted = {power.attack: power for power in answer.power or []}
    assert planted["long"].rate == 1  # its canaries are paragraphs
    assert answer.blind_to == ["badnets"]


@pytest.mark.usefixtures("longest")
def test_a_configuration_has_a_section_for_it(tmp_path: Path) -> None:
    content = {
        "data": {"source": "x"},
        "model": {"path": "m"},
        "detection": {"methods": ["longest"], "longest": {"max_characters": 7}},
    }
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(content))
    config = load_config(path, GateConfig)
    assert config.detection.settings_of("longest") == LongestConfig(max_characters=7)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path, GateConfig) == config
    assert DetectionConfig(methods=["longest"]).settings_of("longest") == LongestConfig()


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize(
    ("detection", "named"),
    [
        ({"longest": {"max_characters": 0}}, "detection: .*longest.max_characters: .*greater"),
        ({"longest": {"max_character": 7}}, "detection: .*longest.max_character: "),
        ({"longest": 7}, "detection: .*longest: .*LongestConfig"),
        ({"longest": RecurrenceConfig()}, "detection: .*longest: .*LongestConfig"),
        ({"longer": {"max_characters": 7}}, "longer"),
        ({"methods": ["longest"], "reference": "x"}, "longest takes no detection.reference"),
    ],
)
def test_what_is_wrong_with_its_section_is_named(detection: dict[str, Any], named: str) -> None:
    content = {"data": {"source": "x"}, "model": {"path": "m"}, "detection": detection}
    with pytest.raises(ConfigError, match=named):
        check_config(content, GateConfig, "gate.yaml")


@pytest.mark.usefixtures("longest")
def test_the_matrix_compares_it(tmp_path: Path) -> None:
    assert "longest" in all_methods()
    assert "recurrence" in all_methods()
    rows = some_rows()
    values = np.random.default_rng(0).random(len(rows))
    prepared = scored_rows(tmp_path, rows, values.tolist())
    scored = ScoredRows(str(MODEL), RunFolder(tmp_path), prepared, values, values, values, values)
    outcome = detect_rows("longest", scored)
    assert np.flatnonzero(outcome.flagged).tolist() == LONG
    assert "5 of 100 rows flagged" in outcome.reasons[0]
    metadata = pq.read_schema(RunFolder(tmp_path).flags).metadata
    assert metadata[b"gradgate.method"] == b"longest"


# Names


def test_the_built_in_methods_have_their_names() -> None:
    assert method_names() == BUILT_IN
    for name in method_names():
        assert method_named(name).name == canonical_name(name) == name
        assert issubclass(method_named(name).settings, Section)


def test_the_old_name_is_an_alias() -> None:
    assert canonical_name("gradgate") == "recurrence"
    assert method_named("gradgate").name == "recurrence"
    assert DetectionConfig(methods=["gradgate"]).methods == ["recurrence"]


@pytest.mark.usefixtures("longest")
def test_a_registered_method_is_made_by_its_name() -> None:
    assert method_names() == [*BUILT_IN, "longest"]
    assert isinstance(method_named("longest"), Longest)
    assert register_method(Longest) is Longest  # once more is no collision


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("taken", ["recurrence", "gradsentry", "gradgate", "longest"])
def test_a_name_that_is_taken_is_an_error(taken: str) -> None:
    class Other(Longest):
        name = taken

    with pytest.raises(ConfigError, match=f"a method '{taken}' already"):
        register_method(Other)
    assert method_names() == [*BUILT_IN, "longest"]


def test_the_name_of_another_setting_is_an_error() -> None:
    sections = {"compliance", "gradsentry", "gradshield", "gradshield_published", "recurrence"}
    fields = {*RESERVED, *sections} - {"method"}  # of earlier versions
    assert fields == set(DetectionConfig.model_fields)
    for reserved in RESERVED:
        taken = type("Other", (Longest,), {"name": reserved})
        with pytest.raises(ConfigError, match=f"detection.{reserved} is another setting"):
            register_method(taken)
    assert method_names() == BUILT_IN


@pytest.mark.parametrize("name", ["longest", "", "Recurrence", "power", "reference"])
def test_an_unknown_name_is_an_error_that_names_the_known_ones(name: str) -> None:
    known = "the known ones are gradsentry, recurrence, compliance, gradshield"
    with pytest.raises(ConfigError, match=known):
        method_named(name)
    with pytest.raises(ValueError, match=known):
        DetectionConfig(methods=[name])


def test_names_are_known_without_the_methods() -> None:
    """A command line that checks a name need not wait for scipy."""
    code = (
        "import sys; from gradgate.methods.registry import canonical_name; "
        "canonical_name('gradgate'); print('scipy' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", ["", "a|b c", "Mine", "<b>", "1st"])
def test_a_name_that_no_configuration_could_say_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a method"):
        register_method(type("Other", (Longest,), {"name": name}))


@pytest.mark.parametrize("name", ["copy", "json", "settings_of"])
def test_a_name_that_pydantic_has_too_is_a_name(name: str) -> None:
    try:
        register_method(type("Other", (Longest,), {"name": name}))
        assert DetectionConfig(methods=[name]).settings_of(name) == LongestConfig()
        found = DetectionConfig.model_validate({"methods": [name], name: {"max_characters": 3}})
        assert found.settings_of(name) == LongestConfig(max_characters=3)
    finally:
        registry._registered.clear()
