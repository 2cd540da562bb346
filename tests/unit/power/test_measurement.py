"""The power of a method that needs scores: canaries go through the model as the data did."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flag_helpers import flag

from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PowerConfig, ScoringConfig
from gradgate.data.prepare import Prepared, SampleFile, prepare
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.data.tokens import Tokens, tokenize_all
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.token_logp import unpacked
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.expected import Expected
from gradgate.methods.gradsentry.config import GradsentryConfig, ThresholdConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.models.handle import ConfiguredModel, HeldModel
from gradgate.models.identity import IdentifiedModel, load_model
from gradgate.models.loading import LoadedModel, load_tokenizer
from gradgate.power.measurement import Measured, measure_power, set_aside
from gradgate.power.other_scores import CanaryModel
from gradgate.power.planting import TARGETS
from gradgate.power.power import Power
from gradgate.scoring.run import score_dataset
from helpers import MODEL, diverse_rows, identified, scored_rows, write_jsonl, write_scores

MODEL_CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
METHOD = GradsentryMethod()
VALLEY = GradsentryConfig(threshold=ThresholdConfig(bootstrap=0))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(MODEL_CONFIG)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, loaded: LoadedModel) -> RunFolder:
    """Three hundred clean rows with the scores that the demo's model gives them."""
    folder = tmp_path_factory.mktemp("scored")
    config = DataConfig(source=str(write_jsonl(folder / "rows.jsonl", diverse_rows(300))))
    prepared = prepare(config, load_tokenizer(MODEL_CONFIG), 512, folder / "run")
    run = RunFolder(prepared.folder)
    score_dataset(prepared, identified(loaded), ScoringConfig(), run.scores)
    flag(run, METHOD, fixed(1.0))  # flags nothing
    return run


def fixed(tau: float) -> GradsentryConfig:
    return GradsentryConfig(threshold=ThresholdConfig(method="fixed", value=tau))


def measured(
    run: RunFolder,
    loaded: LoadedModel,
    settings: GradsentryConfig,
    config: PowerConfig,
    max_tokens: int = 512,
) -> Measured:
    return measure_power(run, METHOD, settings, config, canary_model(loaded, max_tokens))


def canary_model(
    loaded: LoadedModel, max_tokens: int = 512, store: Path | None = None
) -> CanaryModel:
    handle = HeldModel(loaded.model, loaded.tokenizer, "demo")
    return CanaryModel(handle, ScoringConfig(), max_tokens, store)


def same_samples(run: RunFolder, folder: Path) -> Prepared:
    """The samples of a run in another folder, without their scores."""
    for path in (run.samples, run.dataset):
        shutil.copy(path, folder)
    return Prepared.load(folder)


def powers(found: Measured) -> list[Power]:
    assert found.power is not None
    return found.power


def test_a_canary_is_found_when_its_entropy_is_above_tau(
    scored: RunFolder, loaded: LoadedModel
) -> None:
    before = {path: path.read_bytes() for path in scored.path.iterdir()}
    config = PowerConfig(attacks=["long", "replaced", "adaptive"], max_rows=100)
    rates = []
    for tau in (0.0, 0.8, 1.0):
        found = measured(scored, loaded, fixed(tau), config)
        missed = [power.attack for power in powers(found) if power.smallest_rows is None]
        beyond = "missed, and whether 36 rows of it would show is not known"
        assert [note.split(":")[0] for note in found.not_tried] == (
            [", ".join(missed)] if missed else []
        )
        assert all(beyond in note for note in found.not_tried)
        assert [power.n_planted for power in powers(found)] == [12] * 3
        rates.append([power.rate for power in powers(found)])
    assert rates[0] == [1.0] * 3
    assert rates[2] == [0.0] * 3
    assert rates[1][0] > rates[1][2]  # a paragraph is seen, what is as long as the answers is not
    assert {path: path.read_bytes() for path in scored.path.iterdir()} == before


def test_canaries_that_are_too_long_are_no_canaries(scored: RunFolder, loaded: LoadedModel) -> None:
    config = PowerConfig(attacks=["long", "replaced"])
    found = measured(scored, loaded, fixed(0.5), config, max_tokens=110)
    assert [power.attack for power in powers(found)] == ["replaced"]
    assert found.not_tried == ["long: fewer than 12 samples can carry it"]


def test_tau_is_found_anew_in_the_copy(
    tmp_path: Path, scored: RunFolder, loaded: LoadedModel
) -> None:
    """Data of one mode have no valley, and a copy with enough canaries among them has one."""
    entropies = np.random.default_rng(0).normal(0.3, 0.03, 300)
    run = write_scores(same_samples(scored, tmp_path), entropies.tolist())
    assert flag(run, METHOD, VALLEY).undecided_because is not None
    (power,) = powers(measured(run, loaded, VALLEY, PowerConfig(attacks=["badnets"])))
    assert (power.n_planted, power.n_detected) == (36, 36)
    assert power.smallest_fraction == pytest.approx(12 / 300)


def test_a_method_without_a_valley_in_the_copy_is_blind(
    scored: RunFolder, loaded: LoadedModel
) -> None:
    (power,) = powers(measured(scored, loaded, VALLEY, PowerConfig(attacks=["adaptive"])))
    assert (power.n_detected, power.smallest_fraction) == (0, None)


def test_flagged_rows_have_no_part_in_the_copy(
    tmp_path: Path, scored: RunFolder, loaded: LoadedModel
) -> None:
    entropies = [0.9 if i < 260 else 0.1 for i in range(300)]
    run = write_scores(same_samples(scored, tmp_path), entropies)
    flag(run, METHOD, fixed(0.5))
    assert len(set_aside(run)) == 260
    found = measured(run, loaded, fixed(0.5), PowerConfig(attacks=["long"]))
    assert powers(found) == []
    assert "48 distinct samples" in found.not_tried[0]
    assert "there are 40" in found.not_tried[0]


class Unusable(ConfiguredModel):
    """Gives its tokenizer only."""

    def identify(self) -> IdentifiedModel:
        raise AssertionError("there is nothing to score")


def test_too_few_samples_need_no_model(tmp_path: Path) -> None:
    unusable = CanaryModel(Unusable(MODEL_CONFIG), ScoringConfig(), 512)
    run = RunFolder(scored_rows(tmp_path, diverse_rows(47)).folder)
    flag(run, METHOD, fixed(1.0))

    found = measure_power(run, METHOD, fixed(1.0), PowerConfig(), unusable)
    assert found.power == []
    assert "there are 47" in found.not_tried[0]


class Referring(Method[GradsentryConfig]):
    """Flags every sample whose target no trusted sample has; without trusted ones, nothing."""

    name: ClassVar[str] = "referring"
    question: ClassVar[Question] = "poisoned"
    settings = GradsentryConfig
    takes_reference: ClassVar[bool] = True

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradsentryConfig,
    ) -> Detection:
        known = {prompt_and_target(sample)[1] for sample in reference or samples}
        flagged = [prompt_and_target(sample)[1] not in known for sample in samples]
        nothing = np.zeros(scores.n, np.int64)
        return Detection(
            suspicion=np.full(scores.n, np.nan),
            flagged=np.array(flagged),
            in_doubt=nothing > 0,
            group=nothing,
        )


class Vouching(Referring):
    """Flags what holds something that the owner vouches for."""

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradsentryConfig,
    ) -> Detection:
        found = super().detect(scores, samples, None, settings)
        texts = [prompt_and_target(sample)[1] for sample in samples]
        marks = [scores.expected is not None and bool(scores.expected.spans(t)) for t in texts]
        return replace(found, flagged=np.array(marks))


def test_the_method_knows_in_a_copy_as_well_what_the_owner_vouches_for(
    scored: RunFolder, loaded: LoadedModel
) -> None:
    config = PowerConfig(attacks=["badnets"])

    def rate(expected: Expected | None) -> float:
        found = measure_power(
            scored,
            Vouching(),
            GradsentryConfig(),
            config,
            canary_model(loaded),
            expected=expected,
        )
        return powers(found)[0].rate

    assert rate(None) == 0.0
    assert rate(Expected.of([TARGETS["badnets"]])) == 1.0


def test_a_copy_is_held_against_the_reference_of_the_verdict(
    scored: RunFolder, loaded: LoadedModel
) -> None:
    method, settings = Referring(), GradsentryConfig()
    config = PowerConfig(attacks=["replaced"])

    def rate(reference: Path | None) -> float:
        found = measure_power(
            scored,
            method,
            settings,
            config,
            canary_model(loaded),
            reference,
        )
        return powers(found)[0].rate

    assert rate(None) == 0.0
    assert rate(scored.samples) == 1.0


class Surprised(Method[GradsentryConfig]):
    """Flags rows with a target token that the model hardly expects; remembers what it was given."""

    name: ClassVar[str] = "surprised"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    settings = GradsentryConfig
    given: list[tuple[Scores, list[Sample]]]

    def __init__(self) -> None:
        self.given = []

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradsentryConfig,
    ) -> Detection:
        self.given.append((scores, list(samples)))
        assert scores.tokens is not None
        rows = [scores.tokens.row(i) for i in range(scores.n)]
        lowest = np.array([logp[marks].min() for _, marks, logp in rows])
        nothing = np.zeros(scores.n, np.int64)
        return Detection(
            suspicion=-lowest.astype(np.float64),
            flagged=lowest < -14.0,
            in_doubt=nothing > 0,
            group=nothing,
        )


def test_copies_have_the_tokens_of_known_rows_and_of_canaries(
    tmp_path: Path, scored: RunFolder, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, config = Surprised(), PowerConfig(attacks=["replaced"])
    scored_here: list[int] = []
    score = Scorer.score

    def count(self: Scorer, samples: list[Tokens], *more: Any) -> list[Score]:
        scored_here.append(len(samples))
        return score(self, samples, *more)

    monkeypatch.setattr(Scorer, "score", count)
    store = tmp_path / "scores.db"
    canaries = canary_model(loaded, store=store)
    found = measure_power(scored, method, GradsentryConfig(), config, canaries)
    assert powers(found)[0].n_planted == 36
    known = {sample.sample_id for sample in SampleFile(scored.samples)}
    copied = {sample.sample_id for _, samples in method.given for sample in samples}
    assert sum(scored_here) == len(copied - known) > 36  # each canary once
    for scores, samples in method.given:
        assert scores.is_scored.all()
        assert scores.signals == {}
        assert scores.tokens is not None
        assert not scores.tokens.lacking().any()
        expected = [t for t in tokenize_all(samples, loaded.tokenizer) if isinstance(t, Tokens)]
        for i, tokens in enumerate(expected):
            ids, marks, _ = scores.tokens.row(i)
            assert (ids.tolist(), marks.tolist()) == (tokens.input_ids, tokens.is_target)
        alone = Scorer(loaded, ScoringConfig()).score(expected[:20])
        for i, one in enumerate(alone):
            assert one.token_logp is not None
            logp = unpacked(one.token_logp).astype(np.float32)
            np.testing.assert_allclose(scores.tokens.row(i)[2], logp, rtol=2e-3, atol=1e-4)
    # the next run finds them in the store
    n_before, before = len(scored_here), method.given
    method.given = []
    assert measure_power(scored, method, GradsentryConfig(), config, canaries) == found
    assert len(scored_here) == n_before
    for (old, _), (new, _) in zip(before, method.given, strict=True):
        assert old.tokens is not None
        assert new.tokens is not None
        np.testing.assert_array_equal(old.tokens.logp, new.tokens.logp)
