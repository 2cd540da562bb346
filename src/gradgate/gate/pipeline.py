"""The steps that lead to a verdict, once, for whoever runs them.

`run` is what the flow, the command line, the library and the benchmarks call. An orchestrator
replaces single steps by its own, which do the same and record it; the order is said here alone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.common.state import score_store
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.reference import reference_samples
from gradgate.data.rows import RawRow
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked, Scored, decide, refuse_raw_data
from gradgate.gate.flags import Flagging, expected_by, flag
from gradgate.gate.verdict import TrustedReference, Verdict
from gradgate.gradients.safety import SafetySource
from gradgate.methods.contract import ModelAccess
from gradgate.methods.registry import method_named
from gradgate.models.handle import ConfiguredModel, ModelHandle
from gradgate.power.measurement import NOT_MEASURED, Measured, measure_power
from gradgate.power.other_scores import CanaryModel, OtherScores
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.likelihood import Likelihood
from gradgate.scoring.run import Progress, ScoringSummary, score_dataset


@dataclass(frozen=True)
class ScoredRun(Scored):
    """A score table, and what the scoring did."""

    summary: ScoringSummary


@dataclass(frozen=True)
class Detected:
    """What the methods say, and what they were held against."""

    flaggings: list[Flagging]
    reference: TrustedReference | None = None


def fetch(
    config: ScoreConfig,
    run: RunFolder,
    model: ModelHandle | None = None,
    rows: Iterable[RawRow] | None = None,
) -> Prepared:
    """Make samples of the rows of the source, or of rows that are given instead."""
    model = model or ConfiguredModel(config.model)
    limit = model.limit(config.data.max_tokens)
    return prepare(config.data, model.tokenizer(), limit, run.path, rows)


def check_raw_data(prepared: Prepared, config: GateConfig, run: RunFolder) -> list[str]:
    """Why the dataset is not fit to be scored; nothing when it is."""
    data, failures = config.data, []
    if prepared.n_rejected > data.max_rejected_fraction * prepared.n_rows:
        failures.append(
            f"{prepared.n_rejected} of {prepared.n_rows} rows are rejected, more than "
            f"data.max_rejected_fraction {data.max_rejected_fraction:.2%}"
        )
    if prepared.n_samples == 0:
        failures.append(f"none of the {prepared.n_rows} rows can be scored")
    elif prepared.n_samples < data.min_rows:
        failures.append(
            f"{prepared.n_samples} rows can be scored, fewer than data.min_rows {data.min_rows}"
        )
    return failures


def score(
    prepared: Prepared,
    config: ScoreConfig,
    run: RunFolder,
    on_progress: Progress = lambda done, total: None,
    model: ModelHandle | None = None,
    probes: SafetySource | None = None,
) -> ScoredRun:
    """Write the score table, scoring what the store does not know; against probes, if given."""
    found = (model or ConfiguredModel(config.model)).identify()
    store = _store(config)
    summary = score_dataset(prepared, found, config.scoring, run.scores, store, on_progress, probes)
    return ScoredRun(n_scored_rows(run), found.identity, summary)


def n_scored_rows(run: RunFolder) -> int:
    """Rows of the score table that have a score."""
    return int(is_scored(parquet.table(run.scores, ["status"])).sum())


def detect(
    prepared: Prepared,
    config: GateConfig,
    run: RunFolder,
    model: ModelHandle | None = None,
    probes: SafetySource | None = None,
) -> Detected:
    """Let the method judge, and write the tables of flags; `probes` as for `score`."""
    name = config.detection.method
    method, settings = method_named(name), config.detection.settings_of(name)
    held = model or ConfiguredModel(config.model)
    others = OtherScores(method, _canary_model(config, held, probes))
    access = ModelAccess(held, Likelihood(held, config.scoring, _store(config)), others)
    with _trusted(config, held) as trusted:
        path = None if trusted is None else trusted.samples_path
        flagging = flag(run, method, settings, path, config.policy, access)
        if trusted is None:
            return Detected([flagging])
        reference = TrustedReference(trusted.source, trusted.fingerprint, trusted.n_samples)
        return Detected([flagging], reference)


def _canary_model(
    config: GateConfig, model: ModelHandle, probes: SafetySource | None
) -> CanaryModel:
    return CanaryModel(model, config.scoring, config.data.max_tokens, _store(config), probes)


def _store(config: ScoreConfig) -> Path | None:
    return score_store() if config.scoring.store else None


@contextmanager
def _trusted(config: GateConfig, model: ModelHandle) -> Iterator[Prepared | None]:
    """The trusted reference, while the block runs; None where there is none."""
    source = config.detection.reference
    if source is None:
        yield None
        return
    limit = model.limit(config.data.max_tokens)
    with reference_samples(source, config.data, model.tokenizer(), limit) as trusted:
        yield trusted


def check_flags(
    prepared: Prepared, detected: Detected, config: GateConfig, run: RunFolder
) -> Checked:
    """Whether every row has a score."""
    n_scored = n_scored_rows(run)
    if n_scored == prepared.n_samples:
        return Checked()
    n_failed = prepared.n_samples - n_scored
    return Checked([f"{n_failed} of {prepared.n_samples} rows could not be scored"])


def measure(
    detected: Detected,
    config: GateConfig,
    run: RunFolder,
    model: ModelHandle | None = None,
    probes: SafetySource | None = None,
) -> Measured:
    """Find out which attacks the method would have found; `probes` as for `score`."""
    if not config.detection.power.attacks:
        return NOT_MEASURED
    if any(flagging.undecided_because is not None for flagging in detected.flaggings):
        why = "no canaries were planted: the method cannot decide on these data"
        return Measured(None, [why])
    held = model or ConfiguredModel(config.model)
    canary_model = _canary_model(config, held, probes)
    name = config.detection.method
    with _trusted(config, held) as trusted:
        return measure_power(
            run,
            method_named(name),
            config.detection.settings_of(name),
            config.detection.power,
            canary_model,
            None if trusted is None else trusted.samples_path,
            expected_by(config.policy),
        )


@dataclass(frozen=True)
class Steps:
    """The steps; each may be replaced by one that does the same and more."""

    fetch: Callable[[GateConfig, RunFolder], Prepared] = fetch
    check_raw_data: Callable[[Prepared, GateConfig, RunFolder], list[str]] = check_raw_data
    score: Callable[[Prepared, GateConfig, RunFolder], ScoredRun] = score
    detect: Callable[[Prepared, GateConfig, RunFolder], Detected] = detect
    check_flags: Callable[[Prepared, Detected, GateConfig, RunFolder], Checked] = check_flags
    measure: Callable[[Detected, GateConfig, RunFolder], Measured] = measure
    decide: Callable[..., Verdict] = decide


STEPS = Steps()


def run_gate(config: GateConfig, run: RunFolder, steps: Steps = Steps()) -> Verdict:
    """From the source to the verdict; the tables lie in `run` afterwards.

    Raises:
        GradgateError: A step broke; see there.
    """
    prepared = steps.fetch(config, run)
    failures = steps.check_raw_data(prepared, config, run)
    if failures:
        return refuse_raw_data(prepared, failures)
    scored = steps.score(prepared, config, run)
    return judge(prepared, scored, config, run, steps)


def judge(
    prepared: Prepared,
    scored: Scored,
    config: GateConfig,
    run: RunFolder,
    steps: Steps = Steps(),
) -> Verdict:
    """From the score table to the verdict."""
    detected = steps.detect(prepared, config, run)
    checked = steps.check_flags(prepared, detected, config, run)
    measured = steps.measure(detected, config, run)
    return steps.decide(
        run,
        prepared,
        scored,
        detected.flaggings,
        checked,
        measured,
        config.policy,
        detected.reference,
    )
