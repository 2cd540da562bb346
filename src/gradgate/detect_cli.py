"""`gradgate detect`: all of the gate but its orchestration and the training."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from gradgate.accepted import FLAGS, SCORES
from gradgate.cli_errors import errors_as_exit_code
from gradgate.cli_options import (
    AdapterOption,
    DeviceOption,
    DtypeOption,
    MaxTokensOption,
    ModelOption,
    ModelRevisionOption,
    NameOption,
    RevisionOption,
    ScoreTableOption,
    SourceArgument,
    SplitOption,
    StoreOption,
)
from gradgate.cli_output import (
    check_output,
    make_folder,
    progress,
    publish_rejected,
    rejected_path,
    workspace,
)
from gradgate.config import (
    DataConfig,
    DetectionConfig,
    GateConfig,
    ModelConfig,
    PowerConfig,
    ScoringConfig,
)
from gradgate.decision import decide, read_entropies, refuse_raw_data, write_flagged
from gradgate.errors import ConfigError
from gradgate.flags import flag
from gradgate.measurement import measure_power
from gradgate.models import identify_model, load_tokenizer, sample_limit
from gradgate.prepare import prepare
from gradgate.redaction import redacted
from gradgate.reference import reference_samples
from gradgate.report.content import collect
from gradgate.report.page import write_report
from gradgate.scoring.dataset import ScoringSummary, score_dataset
from gradgate.state import score_store
from gradgate.threshold import choose_threshold
from gradgate.verdict import Verdict

NO_CANARIES = PowerConfig(attacks=[])

MethodOption = Annotated[
    Literal["gradgate", "gradsentry"], typer.Option(help="How samples are flagged.")
]
ReferenceOption = Annotated[
    str | None, typer.Option(help="gradgate: trusted dataset of the same kind and columns.")
]
ReportOption = Annotated[Path | None, typer.Option(help="HTML file to write.")]
ModeOption = Annotated[
    Literal["crop", "full"], typer.Option(help="gradsentry: published crop or all of G.")
]
PowerOption = Annotated[
    bool, typer.Option(help="Plant canaries in a copy, to say which attacks would be found.")
]
ExitZeroOption = Annotated[
    bool, typer.Option("--exit-zero", help="A verdict other than pass exits 0 too.")
]


def detect(
    source: SourceArgument,
    model: ModelOption,
    output: ScoreTableOption,
    method: MethodOption = "gradgate",
    reference: ReferenceOption = None,
    report: ReportOption = None,
    mode: ModeOption = "crop",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    adapter: AdapterOption = None,
    model_revision: ModelRevisionOption = None,
    name: NameOption = None,
    split: SplitOption = None,
    revision: RevisionOption = None,
    max_tokens: MaxTokensOption = 2048,
    power: PowerOption = True,
    store: StoreOption = True,
    exit_zero: ExitZeroOption = False,
) -> None:
    """Flag the samples of SOURCE that look poisoned, and print the verdict as JSON.

    OUTPUT is the score table with `flagged`, `p_value` (with a reference), `reasons` and `group`.
    The exit code is the verdict's: 0 pass, 1 fail, 2 could not run, 3 needs review.
    """
    with errors_as_exit_code():
        inputs = [source, model, *([reference] if reference else [])]
        if report is not None:
            _prepare_report(report, output, inputs)
        config = GateConfig(
            data=DataConfig(
                source=source, name=name, split=split, revision=revision, max_tokens=max_tokens
            ),
            model=ModelConfig(
                path=model, revision=model_revision, adapter=adapter, device=device, dtype=dtype
            ),
            # The store is the gates' too: its size is for their configuration to say.
            scoring=ScoringConfig(mode=mode, store=store, store_max_mib=None),
            detection=DetectionConfig(
                method=method,
                reference=reference,
                power=PowerConfig() if power else NO_CANARIES,
            ),
        )
        with workspace(output, inputs) as folder:
            verdict = run(config, folder, output)
            if (folder / FLAGS).exists():
                if report is not None:
                    _write_report(report, folder, source, verdict)
                (folder / FLAGS).replace(output)
    typer.echo(verdict.to_json(), nl=False)
    raise typer.Exit(0 if exit_zero and verdict.exit_code != 2 else verdict.exit_code)


def run(config: GateConfig, folder: Path, output: Path) -> Verdict:
    """All steps that lead to a verdict, in a folder."""
    limit = sample_limit(config.model, config.data.max_tokens)
    tokenizer = load_tokenizer(config.model)
    prepared = prepare(config.data, tokenizer, limit, folder)
    publish_rejected(prepared, output)
    if prepared.n_rejected > config.data.max_rejected_fraction * prepared.n_rows:
        lost = f"{prepared.n_rejected} of {prepared.n_rows} rows rejected, see "
        return refuse_raw_data(prepared, [lost + str(rejected_path(output))])
    if prepared.n_samples == 0:
        return refuse_raw_data(prepared, [f"{prepared.source} has no rows"])
    found = identify_model(config.model)
    store = score_store() if config.scoring.store else None
    with progress(prepared.n_samples) as on_progress:
        summary = score_dataset(
            prepared, found, config.scoring, folder / SCORES, store, on_progress
        )
    threshold = choose_threshold(read_entropies(folder / SCORES), config.threshold)
    with reference_samples(config.detection.reference, config.data, tokenizer, limit) as trusted:
        flagging = flag(folder, prepared, threshold, config.detection, config.policy, trusted)
    measured = measure_power(prepared, flagging, config)
    verdict = decide(
        folder,
        prepared,
        threshold,
        flagging,
        config.policy,
        _failures(summary),
        found.identity,
        measured.power,
        measured.not_tried,
    )
    write_flagged(folder, prepared.samples_path)
    return verdict


def _prepare_report(report: Path, output: Path, inputs: list[str]) -> None:
    """Refuse to write the report over what is read or over the output, and make its folder."""
    check_output(report, inputs)
    if report.resolve() in (output.resolve(), rejected_path(output).resolve()):
        raise ConfigError(f"output and report are the same file: {report}")
    make_folder(report)


def _write_report(report: Path, folder: Path, source: str, verdict: Verdict) -> None:
    """Write the report, with the command that asked for it."""
    command = redacted(shlex.join(["gradgate", *sys.argv[1:]]))
    write_report(report, collect(folder, Path(source).name, verdict, command))


def _failures(summary: ScoringSummary) -> list[str]:
    """What the gate's checks of the table would say."""
    if not summary.n_failed:
        return []
    return [f"{summary.n_failed} of {summary.n_rows} rows could not be scored; OUTPUT says why"]
