from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gradgate.config import DataConfig, ModelConfig
from gradgate.errors import DataError
from gradgate.release.config import AdapterTestConfig
from gradgate.release.holding import note_in_card, release, write_test
from gradgate.release.result import AdapterTest, Outcome
from gradgate.train.config import GatedFinetuneConfig
from helpers import read_test

PASS, REVIEW = AdapterTest("pass", ["nothing"]), AdapterTest("review", ["<b>cf</b>"])


@pytest.fixture
def held(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter.held"
    folder.mkdir()
    (folder / "README.md").write_text("# A card\n\nIts text.\n")
    return folder


def test_what_passes_gets_its_name(held: Path) -> None:
    released = held.with_name("adapter")
    release(held, released, PASS)
    assert not held.exists()
    assert (released / "README.md").exists()


@pytest.mark.parametrize("outcome", ["review", "error"])
def test_nothing_else_does(held: Path, outcome: Outcome) -> None:
    with pytest.raises(DataError, match="is not released"):
        release(held, held.with_name("adapter"), AdapterTest(outcome, ["x"]))
    assert [path.name for path in held.parent.iterdir()] == ["adapter.held"]


def test_what_has_the_name_stays(held: Path) -> None:
    released = held.with_name("adapter")
    released.mkdir()
    with pytest.raises(DataError, match="exists"):
        release(held, released, PASS)


def test_the_card_says_what_the_last_test_says(held: Path) -> None:
    note_in_card(held, REVIEW)
    card = (held / "README.md").read_text()
    assert card.startswith("# A card\n\nIts text.\n")
    assert "- Outcome: `review`" in card
    assert "<b>" not in card
    note_in_card(held, PASS)
    assert (held / "README.md").read_text().count("Outcome") == 1
    assert "review" not in (held / "README.md").read_text()


def test_record_and_page_are_written(tmp_path: Path) -> None:
    record, page = tmp_path / "test.json", tmp_path / "test.md"
    write_test(REVIEW, record, page)
    assert read_test(record) == REVIEW
    assert page.read_text().startswith("# Needs review")
    assert {path.name for path in tmp_path.iterdir()} == {"test.json", "test.md"}


def test_behind_the_gate_the_data_are_what_was_trained_on() -> None:
    needed: dict[str, Any] = {"data": DataConfig(source="x"), "model": ModelConfig(path="m")}
    for asked in (AdapterTestConfig(), AdapterTestConfig(trained_on_data=True)):
        config = GatedFinetuneConfig(adapter_test=asked, **needed)
        assert config.adapter_test.trained_on_data
        again = GatedFinetuneConfig.model_validate(config.model_dump())
        assert again == config
    assert GatedFinetuneConfig(**needed).adapter_test == AdapterTestConfig(trained_on_data=True)
    with pytest.raises(ValidationError, match="leave it out"):
        GatedFinetuneConfig(adapter_test=AdapterTestConfig(trained_on_data=False), **needed)
