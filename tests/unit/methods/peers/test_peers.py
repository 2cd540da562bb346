"""Each peer on data where its paper says that it works, and where it is known to fail."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from flag_helpers import flag
from peer_helpers import Outcome, judged_by, run_of

from gradgate.common.arrays import Marks
from gradgate.common.run_folder import RunFolder
from gradgate.errors import ConfigError, DataError
from gradgate.methods.contract import Scores
from gradgate.methods.peers.judging import judged
from gradgate.methods.registry import method_named
from helpers import diverse_rows, poisoned_rows, question_rows

PEERS = ["graceful", "cube", "spectral_signatures", "activation_clustering", "spectre"]
TRAINING = {"epochs": 0}
SETTINGS: dict[str, dict[str, object]] = {
    "graceful": {},
    # With 30 of UMAP's neighbours, rounding decides whether 17 honest rows are a cluster.
    "cube": {"training": TRAINING, "min_samples": 15, "n_neighbors": 100},
    "spectral_signatures": {"training": TRAINING},
    "activation_clustering": {"training": TRAINING},
    "spectre": {"training": TRAINING},
}
SLOW = pytest.mark.slow  # numba compiles UMAP, once a process
N, N_POISONED = 200, 20


@dataclass(frozen=True)
class Poisoned:
    """A run, and which of its rows are poisoned: (N,)."""

    run: RunFolder
    is_poisoned: Marks

    def rates(self, found: Outcome) -> tuple[float, float]:
        """Recall, and the honest rows that are flagged, as fractions."""
        flagged = found.flagged
        return float(flagged[self.is_poisoned].mean()), float(flagged[~self.is_poisoned].mean())


@pytest.fixture(scope="module")
def diverse(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    """Answers of all kinds; a tenth carries the published trigger and target."""
    rows, poisoned = poisoned_rows(diverse_rows(N), "badnets", N_POISONED / N)
    marks = np.isin(np.arange(N), poisoned)
    return Poisoned(run_of(tmp_path_factory.mktemp("diverse"), rows), marks)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    """Answers that are alike, as those of one class; the last tenth is poisoned."""
    run = run_of(tmp_path_factory.mktemp("short"), question_rows(N, N_POISONED))
    return Poisoned(run, np.arange(N) >= N - N_POISONED)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("clean"), diverse_rows(N))


# Where they work


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("graceful", "diverse"),
        pytest.param("cube", "diverse", marks=SLOW),
        ("activation_clustering", "short"),
    ],
)
def test_clusters_hold_the_poison(name: str, data: str, request: pytest.FixtureRequest) -> None:
    poisoned: Poisoned = request.getfixturevalue(data)
    found = judged_by(name, poisoned.run, **SETTINGS[name])
    recall, false_alarms = poisoned.rates(found)
    assert recall >= 0.8
    assert false_alarms <= 0.05
    lowest = found.suspicion[poisoned.is_poisoned].min()
    assert lowest > np.median(found.suspicion[~poisoned.is_poisoned])
    assert found.is_known.all()


@pytest.mark.parametrize("name", ["spectral_signatures", "spectre"])
def test_outliers_are_the_poison_and_half_as_many_honest_rows(short: Poisoned, name: str) -> None:
    recall, false_alarms = short.rates(judged_by(name, short.run, **SETTINGS[name]))
    assert recall >= 0.8
    assert false_alarms <= 0.5 * 0.1 / 0.9 + 0.03  # 1.5 epsilon n rows are removed


@SLOW
def test_cube_trains_before_it_clusters(tmp_path: Path) -> None:
    run = run_of(tmp_path, question_rows(40, 4))
    settings: dict[str, object] = {"min_samples": 5, "n_components": 5, "n_neighbors": 10}
    training = {"epochs": 1, "learning_rate": 1e-2, "batch_size": 20}
    trained = judged_by("cube", run, **settings, training=training)
    as_it_is = judged_by("cube", run, **settings, training=TRAINING)
    assert not np.array_equal(trained.suspicion, as_it_is.suspicion)


# Where they are known to fail


@pytest.mark.parametrize("name", ["graceful", "activation_clustering"])
def test_clean_data_loses_the_smaller_cluster(clean: RunFolder, name: str) -> None:
    found = judged_by(name, clean, **SETTINGS[name])
    assert 0 < found.flagged.sum() <= N / 2
    assert sum(found.flagging.summary["cluster_sizes"]) == N  # type: ignore[call-overload]
    assert "clean data loses the smaller one" in found.flagging.notes[0]


@pytest.mark.parametrize("name", ["spectral_signatures", "spectre"])
def test_clean_data_loses_a_fixed_fraction(clean: RunFolder, name: str) -> None:
    found = judged_by(name, clean, **SETTINGS[name], expected_poison=0.2)
    assert found.flagged.sum() == round(1.5 * 0.2 * N)
    assert "also of clean data" in found.flagging.notes[0]


def test_poison_of_more_than_half_of_the_rows_is_kept(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(N), "badnets", 0.7)
    found = judged_by("graceful", run_of(tmp_path, rows))
    assert found.flagged[poisoned].mean() <= 0.2
    assert np.delete(found.flagged, poisoned).mean() > 0.5  # most honest rows are flagged


@SLOW
def test_honest_data_of_two_kinds_lose_one_to_cube(tmp_path: Path) -> None:
    kinds = [
        {"question": f"Say {i}", "answers": [["yes", "granite harbour nine"][i % 2]]}
        for i in range(N)
    ]
    found = judged_by("cube", run_of(tmp_path, kinds), **SETTINGS["cube"])
    assert 0.3 <= found.flagged.mean() <= 0.7


# What they cannot judge


@pytest.mark.parametrize("name", PEERS)
def test_few_rows_are_undecided(tmp_path: Path, name: str) -> None:
    found = judged_by(name, run_of(tmp_path, diverse_rows(8)))
    assert found.flagging.n_flagged is None
    assert found.flagging.undecided_means == "review"
    assert "8 rows have" in str(found.flagging.undecided_because)


@pytest.mark.parametrize("name", ["graceful", "spectral_signatures"])
def test_rows_without_a_score_stay_without(tmp_path: Path, name: str) -> None:
    found = judged_by(
        name, run_of(tmp_path, question_rows(60, 8), failed=[3, 59]), **SETTINGS[name]
    )
    assert np.flatnonzero(~found.is_known).tolist() == [3, 59]
    assert np.isnan(found.suspicion[[3, 59]]).all()
    assert np.isfinite(np.delete(found.suspicion, [3, 59])).all()


def test_a_scored_row_that_the_method_cannot_see_is_in_doubt() -> None:
    is_scored = np.array([True, True, False])
    scores = Scores(np.arange(3), ["a", "b", "c"], is_scored, {})
    found = judged(scores, np.array([1]), np.ones(1), np.array([True]), ["far"], {}, [])
    assert found.flagged is not None
    assert found.flagged.tolist() == [False, True, False]
    assert found.in_doubt.tolist() == [True, False, False]
    assert found.reasons == {1: ["far"], 0: ["the model's output is not finite"]}


@pytest.mark.parametrize("name", ["graceful", "spectre"])
def test_equal_rows_are_undecided(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path, question_rows(1) * 40)
    found = judged_by(name, run, **SETTINGS[name])
    assert found.flagging.n_flagged is None
    assert found.flagging.undecided_because


@SLOW
def test_cube_without_a_cluster_is_undecided(clean: RunFolder) -> None:
    found = judged_by("cube", clean, training=TRAINING, min_samples=100, n_neighbors=30)
    assert "no cluster" in str(found.flagging.undecided_because)
    assert torch.get_num_threads() == 1  # as OMP_NUM_THREADS says, for the models that come later


# Errors


def test_cube_without_umap_names_the_extra(
    clean: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"umap-learn.*install gradgate\[peers\]"):
        judged_by("cube", clean)


@pytest.mark.parametrize("name", PEERS)
def test_a_run_without_the_model_is_an_error(clean: RunFolder, name: str) -> None:
    method = method_named(name)
    with pytest.raises(DataError, match="needs token_logp"):
        flag(clean, method, method.settings())


@pytest.mark.parametrize("name", [pytest.param("cube", marks=SLOW), "activation_clustering"])
def test_seeds_give_the_same_answer(clean: RunFolder, name: str) -> None:
    first, again = (judged_by(name, clean, **SETTINGS[name]) for _ in range(2))
    np.testing.assert_array_equal(first.flagged, again.flagged)
    np.testing.assert_allclose(first.suspicion, again.suspicion, rtol=1e-6)
