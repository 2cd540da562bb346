"""What people see of a run while it goes on: a line a phase in a log, a bar on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gradgate.cli.lines import say_phase
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate import pipeline
from gradgate.gate.config import GateConfig
from gradgate.gate.flags import Flagging
from gradgate.gate.pipeline import STEPS, Detected, ScoredRun, Steps
from gradgate.power.measurement import Measured
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.run import Progress as OnProgress
from gradgate.scoring.run import ScoringSummary


def announced() -> Steps:
    """The steps of a gate, each of which says what came of it."""

    def score_and_say(prepared: Prepared, config: GateConfig, run: RunFolder) -> ScoredRun:
        scored = score(prepared, config, run)
        say_phase(f"scored {of_scoring(scored.summary)}")
        return scored

    def detect(prepared: Prepared, config: GateConfig, run: RunFolder) -> Detected:
        detected = STEPS.detect(prepared, config, run)
        for flagging in detected.flaggings:
            say_phase(f"flagging: {_of_flagging(flagging, prepared)}")
        return detected

    def measure(detected: Detected, config: GateConfig, run: RunFolder) -> Measured:
        measured = STEPS.measure(detected, config, run)
        say_phase(f"canaries: {_of_canaries(measured)}")
        return measured

    return replace(
        STEPS,
        fetch=fetch,
        score=score_and_say,
        detect=detect,
        measure=measure,
    )


def fetch(config: ScoreConfig, run: RunFolder, keep_rows: bool = True) -> Prepared:
    """Make samples of the rows."""
    prepared = pipeline.fetch(config, run, keep_rows=keep_rows)
    say_phase(f"fetched {of_rows(prepared)}")
    return prepared


def of_rows(prepared: Prepared) -> str:
    """What became of the rows, in a line."""
    return (
        f"{prepared.n_rows:,} rows: {prepared.n_samples:,} samples, "
        f"{prepared.n_rejected:,} rejected"
    )


def score(prepared: Prepared, config: ScoreConfig, run: RunFolder) -> ScoredRun:
    """Write the score table, with a bar on a terminal."""
    shards, n_rows = config.scoring.from_shards, f"{prepared.n_samples:,} rows"
    here = f"scoring {n_rows} with {config.model.path} ..."
    say_phase(here if shards is None else f"putting together the scores of {n_rows} from {shards}")
    with progress(prepared.n_samples) as on_progress:
        return pipeline.score(prepared, config, run, on_progress)


@contextmanager
def progress(total: int) -> Iterator[OnProgress]:
    """A bar with an ETA on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = [TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=total)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def of_scoring(summary: ScoringSummary) -> str:
    """What a scoring run did, in a line."""
    return (
        f"{summary.n_rows:,} rows ({summary.n_unique:,} distinct, {summary.n_failed:,} failed): "
        f"{summary.n_reused:,} known before, {summary.n_scored:,} samples scored, "
        f"{summary.samples_per_second:.0f} rows/s"
    )


def _of_flagging(flagging: Flagging, prepared: Prepared) -> str:
    if flagging.n_flagged is None:
        return f"{flagging.method} cannot decide: {flagging.undecided_because}"
    return (
        f"{flagging.method} flags {flagging.n_flagged:,} of {prepared.n_samples:,} rows, "
        f"{flagging.n_in_doubt:,} in doubt, {flagging.n_surplus:,} surplus copies"
    )


def _of_canaries(measured: Measured) -> str:
    found = [f"{p.attack} {p.n_detected} of {p.n_planted}" for p in measured.power or []]
    return "; ".join([*([", ".join(found)] if found else []), *measured.not_tried]) or "none"
