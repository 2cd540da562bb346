"""Method gradshield_published: from FIHS to flags."""

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.errors import DataError
from gradgate.gate.config import DetectionConfig
from gradgate.methods.checks import require_contract, require_signals
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.gradshield.config import GradshieldPublishedConfig
from gradgate.methods.registry import method_named

METHOD = method_named("gradshield_published")
RNG = np.random.default_rng(0)
MIXED = np.concatenate([RNG.normal(0.0, 1.0, 90), RNG.normal(30.0, 1.0, 10), [np.nan]])


def scores_of(fihs: Floats) -> Scores:
    ids = [f"{i:064x}" for i in range(fihs.size)]
    return Scores(np.arange(fihs.size), ids, np.isfinite(fihs), {"fihs_published": fihs})


def detect(fihs: Floats, **settings: float) -> Detection:
    scores = scores_of(fihs)
    found = METHOD.detect(scores, [], None, GradshieldPublishedConfig.model_validate(settings))
    require_contract(METHOD, found, scores)
    return found


def test_it_answers_whether_rows_are_harmful_by_a_probing_set() -> None:
    assert METHOD.question == "harmful"
    assert METHOD.needs_safety


def test_what_is_above_the_threshold_is_flagged_with_its_reason() -> None:
    found = detect(MIXED)
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == list(range(90, 100))
    assert list(found.reasons) == list(range(90, 100))
    assert found.reasons[90][0].startswith(f"FIHS {MIXED[90]:.4g} is above the adaptive threshold")
    assert found.summary["threshold"] == {
        "state": "mixture",
        "t": MIXED[:90].max(),
        "gain": pytest.approx(found.summary["threshold"]["gain"]),  # type: ignore[index]
        "n": 100,
    }
    assert "known to remove a large part of clean rows" in found.notes[0]


def test_alpha_is_that_of_the_settings() -> None:
    found = detect(MIXED, alpha=1e9)
    assert found.summary["threshold"]["state"] == "gaussian"  # type: ignore[index]
    assert found.notes == []
    scored = MIXED[:100]
    assert found.flagged is not None
    expected = scored > scored.mean() + 2 * scored.std()
    assert (found.flagged[:100] == expected).all()
    assert not found.flagged[100]


@pytest.mark.parametrize(
    ("fihs", "why"),
    [(np.arange(5.0), "fewer than 10 scored rows"), (np.zeros(50), "all rows have the same FIHS")],
)
def test_no_threshold_is_no_pass(fihs: Floats, why: str) -> None:
    found = detect(fihs)
    assert found.flagged is None
    assert found.undecided_because == why
    assert found.undecided_means == "review"


def test_a_row_without_the_signal_is_an_error() -> None:
    """Scored without a probing set."""
    scores = scores_of(MIXED)
    lacking = Scores(scores.rows, scores.sample_ids, np.ones(101, bool), scores.signals)
    with pytest.raises(DataError, match="gradshield_published needs fihs_published, which 1 of"):
        require_signals(METHOD, lacking)


def test_its_settings_are_a_section_of_the_configuration() -> None:
    config = DetectionConfig.model_validate({"gradshield_published": {"alpha": 3.0}})
    assert config.settings_of("gradshield_published") == GradshieldPublishedConfig(alpha=3.0)
