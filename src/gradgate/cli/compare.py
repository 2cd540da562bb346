"""`gradgate compare`: methods side by side on the same rows."""

from pathlib import Path

from gradgate.cli.comparison import render
from gradgate.cli.lines import give, say, say_phase
from gradgate.cli.output import (
    check_output,
    inputs_of,
    publish_rejected,
    quiet_libraries,
    scratch_beside,
)
from gradgate.cli.phases import of_rows, of_scoring, progress
from gradgate.cli.rejections import all_rejected, first_rejected
from gradgate.common.run_folder import RunFolder
from gradgate.compare.config import CompareConfig
from gradgate.compare.result import Comparison, MethodResult
from gradgate.compare.steps import SharedScores, draw_up, fetch, judge, score
from gradgate.compare.writing import FILES, write
from gradgate.data.prepare import Prepared
from gradgate.errors import ConfigError


def run_compare(config: CompareConfig, output: Path) -> int:
    """Compare methods, print the table, and write it; 0, whatever the methods say."""
    quiet_libraries()
    _check(output, inputs_of(config))
    with scratch_beside(output) as folder:
        comparison = _compare(config, RunFolder(folder), output)
        output.mkdir(exist_ok=True)
        write(comparison, output)
    give(render(comparison))
    for found in comparison.methods:
        say(f"{found.method}: {found.verdict}: {'; '.join(found.reasons)}")
    say(f"written to {output}: {', '.join(FILES)}")
    return 0


def _compare(config: CompareConfig, run: RunFolder, output: Path) -> Comparison:
    fetched = fetch(config, run)
    prepared = fetched.prepared
    publish_rejected(prepared, RunFolder(output).rejected)
    columns = ", ".join(fetched.labels.columns) or "none"
    say_phase(f"fetched {of_rows(prepared)}; labels: {columns}")
    if prepared.n_rejected:
        say(f"{prepared.n_rejected:,} rows rejected:")
        shown = first_rejected(prepared.rejected_path, config.data.source)
        for line in all_rejected(shown, prepared.n_rejected, RunFolder(output).rejected):
            say(f"  {line}")
    scores = _score(prepared, config, run)
    judged = []
    for method in config.detection.methods:
        judged.append(judge(method, fetched, scores.scored, config, run))
        say_phase(_of_method(judged[-1].result))
    return draw_up(fetched, scores, judged, config, run)


def _score(prepared: Prepared, config: CompareConfig, run: RunFolder) -> SharedScores:
    say_phase(f"scoring {prepared.n_samples:,} rows with {config.model.path} ...")
    with progress(prepared.n_samples) as on_progress:
        scores = score(prepared, config, run, on_progress)
    say_phase(f"scored {of_scoring(scores.scored.summary)}")
    return scores


def _of_method(found: MethodResult) -> str:
    if found.flagged is None:
        return f"{found.method}: {found.state}: {'; '.join(found.reasons)}"
    return f"{found.method}: {found.verdict}, {found.flagged.k:,} of {found.flagged.n:,} flagged"


def _check(output: Path, inputs: list[str]) -> None:
    """Refuse an output that is a file, has the ending of one, or lies in what is read."""
    if output.exists() and not output.is_dir():
        raise ConfigError(f"the output {output} is no folder; name one, or one that is not there")
    if output.suffix.lower() in {Path(name).suffix for name in FILES}:
        raise ConfigError(
            f"the output {output} would be a folder with {', '.join(FILES)}; name one such as "
            f"{output.stem}"
        )
    check_output([output / name for name in FILES], inputs)
