"""A method that needs the probing set: one pass serves all questions, and the verdict names it."""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gradgate.common.run_folder import RunFolder
from gradgate.config import SafetyConfig, Section
from gradgate.data.sample import Sample
from gradgate.errors import ConfigError
from gradgate.gate.asked import probes_of
from gradgate.gate.changes import compare
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import ProbingSet, Verdict, load_verdict
from gradgate.gradients.score import SAFETY
from gradgate.methods import registry
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.report.deciding import Deciding
from gradgate.report.facts import facts
from gradgate.safety.probes import ProbeSet
from helpers import MODEL, diverse_rows, write_jsonl

N = 30


class NoSettings(Section):
    """No settings."""


class Eroding(Method[NoSettings]):
    """Flags the row of the highest FIHS, and asks for the scores of a sample again."""

    name: ClassVar[str] = "eroding"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = ("fihs_all",)
    needs_safety: ClassVar[bool] = True
    settings = NoSettings

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: NoSettings,
    ) -> Detection:
        fihs = scores.signals["fihs_all"]
        assert scores.score is not None
        again = scores.score(list(samples)[:3])
        # an inner product is exact to a part of the norms, which are at least as large as it
        scale = 1e-6 * float(np.abs(fihs).max())
        assert again.signals["fihs_all"] == pytest.approx(fihs[:3], rel=0, abs=scale)
        return Detection(
            suspicion=fihs,
            flagged=fihs == fihs.max(),
            in_doubt=np.zeros(scores.n, bool),
            group=np.zeros(scores.n, np.int64),
        )


@pytest.fixture(autouse=True)
def eroding() -> Iterator[None]:
    """The method, known as long as a test runs."""
    registry.register_method(Eroding)
    yield
    registry._registered.clear()


def config(source: Path | str, methods: list[str], probes: str | None = None) -> GateConfig:
    given: dict[str, Any] = {
        "data": {"source": str(source)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "safety": {"probes": probes},
        "detection": {"methods": methods, "power": {"attacks": []}},
    }
    return GateConfig.model_validate(given)


def judged(folder: Path, methods: list[str], probes: str | None = None) -> Verdict:
    folder.mkdir()
    source = write_jsonl(folder / "rows.jsonl", diverse_rows(N))
    return run_gate(config(source, methods, probes), RunFolder(folder))


def test_the_samples_are_held_against_the_probes_and_the_verdict_says_which(
    tmp_path: Path, few_probes: Path
) -> None:
    with_it, without, probes = tmp_path / "with", tmp_path / "without", str(few_probes)
    verdict = judged(with_it, ["recurrence", "eroding"], probes)
    assert [a.question for a in verdict.answers] == ["poisoned", "harmful"]
    assert verdict.probes == ProbingSet(probes, ProbeSet.read(probes).fingerprint)
    scores = pq.read_table(RunFolder(with_it).scores)
    for name in SAFETY:
        assert np.isfinite(scores[name].to_numpy()).all(), name
    flags = pq.read_table(RunFolder(with_it).flags).to_pandas()
    assert flags["harmful_flagged"].sum() == 1
    assert np.argmax(flags["fihs_all"]) == np.flatnonzero(flags["harmful_flagged"])[0]
    RunFolder(with_it).verdict.write_text(verdict.to_json())
    assert load_verdict(RunFolder(with_it).verdict) == verdict
    assert ("Probing set", probes) in facts(verdict, "x", Deciding("approve", "run"))

    alone = judged(without, ["recurrence"])
    assert alone.probes is None
    assert pq.read_table(RunFolder(without).scores)["fihs_all"].null_count == N
    assert "Probing set" not in dict(facts(alone, "x", Deciding("approve", "run")))
    assert alone.answers[0].n_flagged == verdict.answers[0].n_flagged
    changed = compare(without, None, with_it, None).changed_settings
    assert changed == ["method", "probing set"]


def test_a_set_of_ones_own_takes_its_place(tmp_path: Path) -> None:
    content = json.loads(files("gradgate.safety").joinpath("probes.json").read_text())
    content["harmful"] = content["harmful"][:12]
    path = tmp_path / "probes.json"
    path.write_text(json.dumps(content))
    source = probes_of(config("x", ["eroding"], str(path)))
    assert source is not None
    assert (source.name, len(source.probes.harmful)) == (str(path), 12)
    built_in = probes_of(config("x", ["eroding"]))
    assert built_in is not None
    assert source.digest != built_in.digest
    assert probes_of(config("x", ["recurrence"])) is None
    with pytest.raises(
        ValidationError, match=r"safety\.probes is for methods that ask for harmful"
    ):
        config("x", ["recurrence"], str(path))
    with pytest.raises(ConfigError, match="cannot read the probing set"):
        probes_of(config("x", ["eroding"], str(tmp_path / "missing.json")))
    assert SafetyConfig().probes is None
