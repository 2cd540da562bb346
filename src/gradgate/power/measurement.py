"""The power of a run: canaries for the method that it flagged by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder
from gradgate.config import PowerConfig, Section
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import Sample
from gradgate.gradients.score import SAFETY
from gradgate.methods.contract import Method, Scores
from gradgate.methods.expected import Expected
from gradgate.power.canaries import CopyScorer, measure
from gradgate.power.copy_scores import CopyScores, Unscored
from gradgate.power.other_scores import CanaryModel
from gradgate.power.planting import Carriers
from gradgate.power.power import Power

# What a sample's own pass gives; other signals compare it with all samples.
_OF_ONE_PASS = (
    "spectral_entropy",
    "entropy_crop",
    "entropy_full",
    "evenness",
    "n_target_tokens",
    "loss",
    "gradient_norm",
    *SAFETY,
)


@dataclass(frozen=True)
class Measured:
    """Which attacks would have been found.

    Attributes:
        power: Of the attacks that were planted; None when none were.
        not_tried: Why others were not, in words.
    """

    power: list[Power] | None
    not_tried: list[str]


NOT_MEASURED = Measured(None, [])


def measure_power(
    run: RunFolder,
    method: Method[Any],
    settings: Section,
    config: PowerConfig,
    canary_model: CanaryModel,
    reference: Path | None = None,
    expected: Expected | None = None,
) -> Measured:
    """Plant canaries of known attacks in a copy of the samples, and let the method judge it.

    Rows that are flagged or in doubt have no part in the copy, so that poison which the data
    already have neither explains a canary nor lends it its target.

    Args:
        run: Holds samples.parquet, scores.parquet and flags.parquet, which are only read.
        method: That judged the run.
        settings: Its own.
        config: Which attacks, and how many samples.
        canary_model: Scores canaries, where the method needs that.
        reference: Samples of the trusted data that the run was held against.
        expected: What the owner vouches for.

    Raises:
        DataError: A file is missing or damaged.
        ModelError: The model cannot be loaded or is not fit to score.
        StoreError: The score store cannot be used.
    """
    if not config.attacks:
        return NOT_MEASURED
    missing = [name for name in method.needs if name not in _OF_ONE_PASS]
    if missing:
        why = f"canaries have no {', '.join(missing)}, which method {method.name} needs"
        return Measured(None, [f"no canaries were planted: {why}"])
    if method.needs_model:
        why = f"method {method.name} sends all rows through the model, for each attack and size"
        return Measured(None, [f"no canaries were planted: {why}"])
    data = Carriers.of(SampleFile(run.samples), config, set_aside(run))
    if method.needs or method.needs_tokens:
        drawn = {sample.sample_id for sample in data.samples}
        score: CopyScorer = CopyScores(run, method, canary_model, drawn)
    else:
        score = Unscored(method.reports)
    trusted = None if reference is None else SampleFile(reference)

    def vouched(samples: Sequence[Sample]) -> Scores:
        return replace(score(samples), expected=expected)

    return Measured(*measure(data, method, settings, config, vouched, trusted))


def set_aside(run: RunFolder) -> set[str]:
    """Ids of the samples that are flagged or in doubt.

    Surplus copies are in doubt for their number alone: the sample is set aside only where all of
    its rows are.
    """
    columns = ["sample_id", "flagged", "in_doubt", "surplus_copy"]
    table = parquet.table(run.flags, columns)
    marked, kept = set[str](), set[str]()
    for sample, flagged, doubt, surplus in zip(
        *(table[name].to_pylist() for name in columns), strict=True
    ):
        if flagged or (doubt and not surplus):
            marked.add(sample)
        elif not surplus:
            kept.add(sample)
    return set(table["sample_id"].to_pylist()) - (kept - marked)
