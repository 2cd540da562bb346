"""`gradgate detect`: all of the gate but its orchestration and the training."""

import shlex
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gradgate.attest.issuing import Facts, run_attested_gate
from gradgate.cli.lines import give
from gradgate.cli.output import (
    PAGE,
    TABLE,
    attestation_path,
    check_output,
    check_rows_folder,
    earlier_aside,
    inputs_of,
    make_folder,
    quiet_libraries,
    require_file,
    rows_path,
    workspace,
)
from gradgate.cli.phases import announced
from gradgate.cli.rejections import first_rejected
from gradgate.cli.summary import Written, say_summary
from gradgate.common.files import put_in_place
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.config import PowerConfig
from gradgate.errors import ConfigError
from gradgate.gate.accounts import FILES, accepted_file
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Verdict
from gradgate.report.about import About
from gradgate.report.content import collect
from gradgate.report.deciding import Deciding
from gradgate.report.in_doubt import flagged, in_doubt
from gradgate.report.page import write_report


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a run, beside its configuration; see the options of the same names."""

    output: Path
    report: Path | None
    no_power: bool
    exit_zero: bool
    json: bool


def run_detect(config: GateConfig, wanted: Wanted) -> int:
    """Run the gate, write the evidence, say what was found, and return the exit code."""
    quiet_libraries()
    if wanted.no_power:
        config = _without_power(config)
    inputs = inputs_of(config)
    if wanted.report is not None:
        _prepare_report(wanted.report, wanted.output, inputs)
    require_file(wanted.output, *TABLE)
    check_rows_folder(rows_path(wanted.output), FILES, inputs)
    attestation = attestation_path(wanted.output)
    outputs = [rows_path(wanted.output), attestation, wanted.output]
    outputs += [] if wanted.report is None else [wanted.report]
    with workspace(wanted.output, [attestation], inputs) as folder, earlier_aside(outputs):
        run, facts = RunFolder(folder), Facts(rows_path(wanted.output).name)
        verdict = run_attested_gate(config, run, announced(), facts)
        written = _publish(run, config, verdict, wanted)
    say_summary(verdict, written)
    if wanted.json:
        give(verdict.to_json())
    return 0 if wanted.exit_zero and verdict.exit_code != 2 else verdict.exit_code


def _publish(run: RunFolder, config: GateConfig, verdict: Verdict, wanted: Wanted) -> Written:
    """Write the report, and give table, attestation and folder of the rows their names."""
    rows = rows_path(wanted.output)
    shutil.rmtree(rows, ignore_errors=True)  # of a run at the same time
    put_in_place(run.rows, rows)
    attestation = attestation_path(wanted.output)
    put_in_place(run.attestation, attestation)
    rejected = first_rejected(run.rejected, config.data.source)
    if not run.flags.exists():
        return Written(None, None, rows, attestation, rejected)
    if wanted.report is not None:
        command = redacted(shlex.join(["gradgate", *sys.argv[1:]]))
        about = About(
            run=rows.name,
            files=f"{rows.absolute()} and beside it",
            when=datetime.now(UTC),
            policy=config.policy,
            deciding=Deciding("restore", str(rows.absolute()), accepted_file(rows).suffix),
            in_doubt=in_doubt(run, verdict),
            flagged=flagged(run, verdict),
        )
        content = collect(run, Path(config.data.source).name, verdict, command, about)
        write_report(wanted.report, content)
    put_in_place(run.flags, wanted.output)
    return Written(wanted.output, wanted.report, rows, attestation, rejected)


def _without_power(config: GateConfig) -> GateConfig:
    detection = config.detection.model_copy(update={"power": PowerConfig(attacks=[])})
    return config.model_copy(update={"detection": detection})


def _prepare_report(report: Path, output: Path, inputs: list[str]) -> None:
    """Refuse to write the report over what is read or over the output, and make its folder."""
    if report.resolve() == output.resolve():
        raise ConfigError(f"output and report are the same file: {report}")
    require_file(report, *PAGE)
    check_output([report], inputs)
    if rows_path(output).resolve() in report.resolve().parents:
        raise ConfigError(f"the report {report} lies in the folder of the rows; name another place")
    make_folder(report)
