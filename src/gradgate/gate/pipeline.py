"""The steps that lead to a verdict, once, for whoever runs them.

`run_gate` is what the flow, the command line, the library and the benchmarks call. An orchestrator
replaces single steps by its own, which do the same and record it; the order is said here alone.
What the methods are asked with is in `gate.asked`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from gradgate.approvals.log import Keys
from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.common.state import state_dir
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.rows.row import RawRow
from gradgate.data.tokenized import TOKENS
from gradgate.errors import ConfigError
from gradgate.gate.accounts import settle
from gradgate.gate.approved import NOTHING_APPROVED, Approved
from gradgate.gate.approved import honour as honour_approvals
from gradgate.gate.asked import (
    asked_of,
    canary_model,
    check_rehearsal,
    probes_of,
    store_of,
    trusted_reference,
)
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked, refuse_raw_data
from gradgate.gate.decide import decide as verdict_of
from gradgate.gate.findings import Findings, Scored, files_taken_over
from gradgate.gate.flags import Flagging, expected_by, flag
from gradgate.gate.preflight import check_inputs, check_room
from gradgate.gate.verdict import ProbingSet, TrustedReference, Verdict
from gradgate.models.handle import ConfiguredModel, ModelHandle
from gradgate.power.measurement import NOT_MEASURED, Measured, measure_power
from gradgate.safety.source import ProbeSource
from gradgate.scoring.backends.spread import Spread
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.context import score_context
from gradgate.scoring.run import Progress, ScoringSummary, score_dataset
from gradgate.scoring.shards.taken import take_scores
from gradgate.signing.keys import public_keys, signer_of

# Nobody here knows how the trainer would render a canary.
_NO_TEXT = "no canaries were planted: the rows are tokens of a trainer, and no text"


@dataclass(frozen=True, kw_only=True)
class ScoredRun(Scored):
    """A score table, and what the scoring did."""

    summary: ScoringSummary


@dataclass(frozen=True)
class Detected:
    """What the methods say, what they were held against, and what people have decided.

    Attributes:
        flaggings: Of rows that nobody has decided on, once `honour` has asked.
    """

    flaggings: list[Flagging]
    reference: TrustedReference | None = None
    approved: Approved = NOTHING_APPROVED


def fetch(
    config: ScoreConfig,
    run: RunFolder,
    model: ModelHandle | None = None,
    rows: Iterable[RawRow] | None = None,
    keep_rows: bool = True,
) -> Prepared:
    """Make samples of the rows of the source, or of rows that are given instead.

    Whatever can be known to be wrong before, is found before a row is read. `keep_rows`: also keep
    the rows as they were, for `accounts.settle`.
    """
    model = model or ConfiguredModel(config.model)
    if isinstance(config, GateConfig):
        check_rehearsal(config, model)
    probes_of(config)
    check_inputs(config, run, model, is_read=rows is None)
    limit = model.limit(config.data.max_tokens)
    return prepare(config.data, model.tokenizer(), limit, run.path, rows, keep_rows)


def check_raw_data(prepared: Prepared, config: GateConfig, run: RunFolder) -> list[str]:
    """Why the dataset is not fit to be scored; nothing when it is."""
    data, failures = config.data, []
    # Divided as the flow's check divides: 0.29 * 100 is less than 29.
    if prepared.n_rejected and prepared.n_rejected / prepared.n_rows > data.max_rejected_fraction:
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
) -> ScoredRun:
    """Write the score table, held against the probing set too; scored is what the store lacks."""
    check_room(prepared, config, run)
    model = model or ConfiguredModel(config.model)
    found = model.identify()
    prepared.check_tokenizer(model.tokenizer())
    store, probes = store_of(config), probes_of(config)
    if (folder := config.scoring.from_shards) is not None:
        context = score_context(found, config.scoring, probes)
        summary = take_scores(folder, prepared, context, run.scores)
    else:
        spread = _spread(config, model, probes)
        summary = score_dataset(
            prepared, found, config.scoring, run.scores, store, on_progress, probes, spread
        )
    used = None if probes is None else ProbingSet(probes.name, probes.probes.fingerprint)
    return ScoredRun(
        n_scored=n_scored_rows(run), model=found.identity, probes=used, summary=summary
    )


def _spread(config: ScoreConfig, model: ModelHandle, probes: ProbeSource | None) -> Spread | None:
    """The workers that score; None where this process does."""
    scoring = config.scoring
    if scoring.backend == "local":
        return None
    if not isinstance(model, ConfiguredModel):
        raise ConfigError(
            "scoring.backend ray has workers load the model, and one that is loaded here cannot be "
            "sent to them; give the model's path, or set scoring.backend to local"
        )
    if scoring.ray.address is not None and scoring.ray.folder is None:
        raise ConfigError(
            "workers of the cluster at scoring.ray.address write their scores into a folder that "
            "this machine sees too; name it: scoring.ray.folder"
        )
    return Spread(scoring, config.model, state_dir() / "shards", probes)


def n_scored_rows(run: RunFolder) -> int:
    """Rows of the score table that have a score."""
    return int(is_scored(parquet.table(run.scores, ["status"])).sum())


def detect(
    prepared: Prepared, config: GateConfig, run: RunFolder, model: ModelHandle | None = None
) -> Detected:
    """Let the methods judge, and write the tables of flags."""
    held = model or ConfiguredModel(config.model)
    with trusted_reference(config, held) as trusted:
        asked = [asked_of(name, config, held, trusted) for name in config.detection.methods]
        flaggings = flag(run, asked, config.policy)
        if trusted is None:
            return Detected(flaggings)
        reference = TrustedReference(trusted.source, trusted.fingerprint, trusted.n_samples)
        return Detected(flaggings, reference)


def honour(
    detected: Detected, config: GateConfig, run: RunFolder, signer: CryptoSigner | None = None
) -> Detected:
    """Let what people have decided take effect, also in earlier runs, on these rows.

    Args:
        detected: What the methods say.
        config: Says who may decide.
        run: Its tables of flags are written anew.
        signer: Of the gate; by default that of the configuration.

    Raises:
        DataError: The log of decisions is broken, or a table.
        ConfigError: The log cannot be checked.
    """
    keys = keys_of(config, signer or signer_of(config.attestation)) if config.approvals.who else {}
    doubt = config.policy.in_doubt
    left, approved = honour_approvals(run, detected.flaggings, config.approvals, keys, doubt)
    return replace(detected, flaggings=left, approved=approved)


def keys_of(config: GateConfig, signer: CryptoSigner | None) -> Keys:
    """By which keys the log of decisions has to be signed; none where the gate has no key.

    Raises:
        ConfigError: The file of the former keys cannot be used, or stands there without a key.
    """
    former = config.approvals.former_keys
    if signer is None:
        if former is not None:
            raise ConfigError(
                "approvals.former_keys is for a gate that signs; set attestation.key, or leave it "
                "out"
            )
        return {}
    known = {} if former is None else public_keys(Path(former))
    return {**known, signer.public_key.keyid: signer.public_key}


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
    detected: Detected, config: GateConfig, run: RunFolder, model: ModelHandle | None = None
) -> Measured:
    """Find out which attacks the method for poisoned rows would have found in these data."""
    flagging = next((one for one in detected.flaggings if one.question == "poisoned"), None)
    if not config.detection.power.attacks or flagging is None:
        return NOT_MEASURED
    if Prepared.load(run.path).row_format == TOKENS.name:
        return Measured(None, [_NO_TEXT])
    if flagging.undecided_because is not None:
        why = "no canaries were planted: the method cannot decide on these data"
        return Measured(None, [why])
    held = model or ConfiguredModel(config.model)
    with trusted_reference(config, held) as trusted:
        asked = asked_of(flagging.method, config, held, trusted)
        return measure_power(
            run,
            asked.method,
            asked.settings,
            config.detection.power,
            canary_model(config, held),
            asked.reference,
            expected_by(config.policy),
        )


def decide(
    prepared: Prepared,
    findings: Findings,
    honoured: Detected,
    checked: Checked,
    config: GateConfig,
    run: RunFolder,
) -> Verdict:
    """The verdict on what was found and what people have decided, see `decide.decide`."""
    return verdict_of(
        run,
        prepared,
        replace(findings, flaggings=honoured.flaggings),
        checked,
        config.policy,
        honoured.approved,
    )


@dataclass(frozen=True)
class Steps:
    """The steps; each may be replaced by one that does the same and more."""

    fetch: Callable[[GateConfig, RunFolder], Prepared] = fetch
    check_raw_data: Callable[[Prepared, GateConfig, RunFolder], list[str]] = check_raw_data
    score: Callable[[Prepared, GateConfig, RunFolder], ScoredRun] = score
    detect: Callable[[Prepared, GateConfig, RunFolder], Detected] = detect
    honour: Callable[[Detected, GateConfig, RunFolder], Detected] = honour
    check_flags: Callable[[Prepared, Detected, GateConfig, RunFolder], Checked] = check_flags
    measure: Callable[[Detected, GateConfig, RunFolder], Measured] = measure
    decide: Callable[[Prepared, Findings, Detected, Checked, GateConfig, RunFolder], Verdict] = (
        decide
    )


STEPS = Steps()


def run_gate(config: GateConfig, run: RunFolder, steps: Steps = STEPS) -> Verdict:
    """From the source to the verdict; the tables and the rows lie in `run` afterwards.

    Raises:
        GradgateError: A step broke; see there.
    """
    prepared = steps.fetch(config, run)
    failures = steps.check_raw_data(prepared, config, run)
    if failures:
        return _settled(run, prepared, refuse_raw_data(prepared, failures))
    scored = steps.score(prepared, config, run)
    return _settled(run, prepared, judge(prepared, scored, config, run, steps))


def _settled(run: RunFolder, prepared: Prepared, verdict: Verdict) -> Verdict:
    """The verdict with its accounts, and with the digests of all that it rests on."""
    return replace(settle(run, prepared, verdict), files=files_taken_over(run))


def judge(
    prepared: Prepared, scored: Scored, config: GateConfig, run: RunFolder, steps: Steps = STEPS
) -> Verdict:
    """From the score table to the verdict."""
    detected = steps.detect(prepared, config, run)
    honoured = steps.honour(detected, config, run)
    checked = steps.check_flags(prepared, honoured, config, run)
    measured = steps.measure(detected, config, run)
    findings = Findings(detected.flaggings, scored, measured, detected.reference)
    findings.save(run)
    return steps.decide(prepared, findings, honoured, checked, config, run)


def judge_again(
    prepared: Prepared,
    findings: Findings,
    config: GateConfig,
    run: RunFolder,
    steps: Steps = STEPS,
) -> Verdict:
    """From what an earlier run has found to a verdict, with what people have decided since."""
    detected = Detected([*findings.flaggings], findings.reference)
    honoured = steps.honour(detected, config, run)
    checked = steps.check_flags(prepared, honoured, config, run)
    return steps.decide(prepared, findings, honoured, checked, config, run)
