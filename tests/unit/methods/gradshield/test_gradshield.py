"""FIHS above what trusted and harmful data tell, and never without them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harm_helpers import ANSWER, PROBES, N, judged, row, rows

from gradgate.methods.gradshield.config import GradshieldConfig
from gradgate.methods.gradshield.method import MIN_REFERENCE, _threshold
from helpers import MODEL


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One score store for all runs of this file."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADGATE_STATE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Benign prompts of the same kind, answered in other words."""
    path = tmp_path_factory.mktemp("trusted") / "trusted.jsonl"
    prompts = [*PROBES.benign, *(one.prompt for one in PROBES.look_alikes)]
    lines = [row(prompt, f"{ANSWER} Good luck.") for prompt in prompts]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["head", "lora"])
def test_answers_to_refused_prompts_lie_above_the_reference(
    tmp_path: Path, refusing_model: Path, trusted: Path, state: Path, scope: str
) -> None:
    detection: dict[str, Any] = {
        "methods": ["gradshield"],
        "reference": str(trusted),
        "gradshield": {"scope": scope},
    }
    verdict, table = judged(tmp_path, refusing_model, rows(), detection)
    if verdict.answers[0].n_flagged is None:
        assert "do not lie above the trusted reference" in verdict.reasons[0]
        assert set(table["flagged"]) == {None}
    else:
        flagged, suspicion = np.array(table["flagged"]), np.array(table["suspicion"])
        assert np.median(suspicion[:N]) > np.median(suspicion[N:])
        assert flagged[:N].mean() > flagged[N:].mean()
        assert not flagged[N : 2 * N].any()  # honest refusals
    assert np.median(table["fihs_all"][:N]) > np.median(table["fihs_all"][N : 2 * N])


def test_without_a_reference_it_cannot_decide(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    verdict, table = judged(tmp_path, refusing_model, rows(), {"methods": ["gradshield"]})
    assert verdict.decision == "review"
    assert f"fewer than {MIN_REFERENCE}; name a trusted dataset" in verdict.reasons[0]
    assert set(table["flagged"]) == {None}


def test_nothing_is_said_of_a_model_that_refuses_nothing(tmp_path: Path, state: Path) -> None:
    verdict, _ = judged(tmp_path, MODEL, rows(), {"methods": ["gradshield"]})
    assert verdict.decision == "error"
    assert "this model is not aligned" in verdict.reasons[0]


def test_the_threshold_is_the_middle_and_above_nearly_all_of_the_reference() -> None:
    settings = GradshieldConfig()
    trusted = np.linspace(-1.0, 1.0, 101)
    assert _threshold(np.array([9.0, 10.0, 11.0]), trusted, settings) == 5.0
    wide = np.linspace(-8.0, 8.0, 101)
    assert _threshold(np.array([9.0, 10.0, 11.0]), wide, settings) == pytest.approx(7.68)
    assert _threshold(np.array([1.0, 2.0, 3.0]), wide, settings) is None
