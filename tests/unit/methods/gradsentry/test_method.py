"""From a threshold to flags: what each state of the threshold means by which settings."""

from typing import get_args

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.gradsentry.config import (
    GradsentryConfig,
    StateAction,
    ThresholdConfig,
    UnreliableState,
)
from gradgate.methods.gradsentry.method import GradsentryMethod

KDE = ThresholdConfig(bootstrap=0)


def normals(*parts: tuple[float, float, int], seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(mean, sd, n) for mean, sd, n in parts]
    return np.clip(np.concatenate(drawn), 0.0, 1.0)


UNRELIABLE: dict[UnreliableState, Floats] = {
    "too_few": normals((0.3, 0.05, 29)),
    "degenerate": np.full(100, 0.4),
    "no_valley": normals((0.4, 0.05, 500)),
    "close_peaks": normals((0.40, 0.01, 300), (0.50, 0.01, 300)),
    "few_above": normals((0.3, 0.05, 4_000), (0.9, 0.01, 36)),
    "weak_valley": normals((0.35, 0.115, 3_000), (0.65, 0.115, 3_000), seed=3),
}
BY_STATE = pytest.mark.parametrize("state", UNRELIABLE)


def fixed(tau: float) -> GradsentryConfig:
    return GradsentryConfig(threshold=ThresholdConfig(method="fixed", value=tau))


def named(**without_valley: str) -> GradsentryConfig:
    given = {"without_valley": without_valley}
    return GradsentryConfig.model_validate({"threshold": KDE, **given})


def detect(entropies: Floats, settings: GradsentryConfig) -> Detection:
    """What the method says of entropies; NaN for a row without a score."""
    n = len(entropies)
    ids = [f"{i:064x}" for i in range(n)]
    signals = {"spectral_entropy": entropies}
    scores = Scores(np.arange(n), ids, np.isfinite(entropies), signals)
    return GradsentryMethod().detect(scores, [], None, settings)


def test_the_states_are_all_that_there_are() -> None:
    assert set(UNRELIABLE) == set(get_args(UnreliableState))


def test_what_lies_above_tau_is_flagged_and_not_what_lies_at_it() -> None:
    entropies = np.array([0.2, 0.5, 0.6, np.nan])
    found = detect(entropies, fixed(0.5))
    assert found.flagged is not None
    assert found.flagged.tolist() == [False, False, True, False]
    assert found.reasons == {2: ["spectral entropy 0.6000 is above tau 0.5000"]}
    np.testing.assert_array_equal(found.suspicion, entropies)


def test_entropy_says_nothing_of_groups_and_doubt() -> None:
    found = detect(np.array([0.1, 0.2, 0.8, np.nan]), fixed(0.5))
    assert not found.group.any()
    assert not found.in_doubt.any()
    assert (found.groups, found.p_values) == ([], None)


def test_a_valley_needs_no_note() -> None:
    entropies = normals((0.3, 0.05, 900), (0.85, 0.03, 100))
    found = detect(entropies, GradsentryConfig(threshold=KDE))
    assert found.flagged is not None
    tau = found.summary["tau"]
    assert isinstance(tau, float)
    assert 0.45 < tau < 0.8
    assert np.array_equal(found.flagged, entropies > tau)
    assert (found.notes, found.undecided_because) == ([], None)
    threshold = found.summary["threshold"]
    assert isinstance(threshold, dict)
    assert (threshold["state"], threshold["tau"], threshold["n"]) == ("valley", tau, 1_000)


def test_a_fixed_tau_is_said_to_be_fixed() -> None:
    found = detect(np.array([0.1, 0.9]), fixed(0.5))
    assert found.notes == ["tau = 0.5 is fixed by the configuration"]
    assert (found.summary["tau"], found.undecided_because) == (0.5, None)


@BY_STATE
def test_without_a_valley_the_default_is_review_and_says_why(state: UnreliableState) -> None:
    found = detect(UNRELIABLE[state], named())
    assert (found.flagged, found.undecided_means) == (None, "review")
    assert found.undecided_because is not None
    assert state in found.undecided_because
    assert "by default: review" in found.undecided_because
    assert (found.reasons, found.notes, found.summary["tau"]) == ({}, [], None)


@BY_STATE
@pytest.mark.parametrize("action", ["review", "fail"])
def test_the_settings_decide_for_the_state_they_name(
    state: UnreliableState, action: StateAction
) -> None:
    found = detect(UNRELIABLE[state], named(**{state: action}))
    assert (found.flagged, found.undecided_means) == (None, action)
    assert f"the configuration says: {action}" in (found.undecided_because or "")


@BY_STATE
def test_a_named_state_may_pass_without_a_flag(state: UnreliableState) -> None:
    found = detect(UNRELIABLE[state], named(**{state: "pass"}))
    assert found.undecided_means == "pass"
    assert state in (found.undecided_because or "")  # nobody looked, and that is said
    assert found.notes == []  # once
    assert found.flagged is not None
    assert not found.flagged.any()


@pytest.mark.parametrize("action", ["review", "fail", "pass", "published_constant"])
def test_a_state_that_is_not_named_is_reviewed(action: StateAction) -> None:
    found = detect(UNRELIABLE["weak_valley"], named(no_valley=action))
    assert (found.flagged, found.undecided_means) == (None, "review")


def test_the_published_constant_only_by_name() -> None:
    entropies = np.append(UNRELIABLE["no_valley"], 0.70)
    found = detect(entropies, named(no_valley="published_constant"))
    assert found.flagged is not None
    assert np.array_equal(found.flagged, entropies > 0.7)
    assert (found.summary["tau"], found.undecided_because) == (0.7, None)
    assert "published constant tau = 0.7" in found.notes[0]


def test_rows_without_a_score_have_no_part_in_the_threshold() -> None:
    entropies = normals((0.3, 0.05, 900), (0.85, 0.03, 100))
    gaps = np.insert(entropies, [0, 500], np.nan)
    whole, found = (detect(e, GradsentryConfig(threshold=KDE)) for e in (entropies, gaps))
    assert found.summary == whole.summary


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_a_score_that_is_no_entropy_is_an_error(bad: float) -> None:
    entropies = normals((0.3, 0.05, 100))
    entropies[7] = bad
    scores = Scores(
        np.arange(100), ["x"] * 100, np.ones(100, bool), {"spectral_entropy": entropies}
    )
    with pytest.raises(DataError, match="1 of 100 scores"):
        GradsentryMethod().detect(scores, [], None, named())
