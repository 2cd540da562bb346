"""`gradgate compare`: methods side by side on the same rows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradgate.cli.comparison import render
from gradgate.cli.lines import give, say, say_phase
from gradgate.cli.output import check_output, make_folder, quiet_libraries
from gradgate.cli.phases import of_scoring, progress
from gradgate.cli.rejections import all_rejected, first_rejected
from gradgate.common.files import written_whole
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
    more = filter(None, (config.model.adapter, config.detection.reference))
    with _workspace(output, [config.data.source, config.model.path, *more]) as folder:
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
    _publish_rejected(prepared, output)
    columns = ", ".join(fetched.labels.columns) or "none"
    say_phase(
        f"fetched {prepared.n_rows:,} rows: {prepared.n_samples:,} samples, "
        f"{prepared.n_rejected:,} rejected; labels: {columns}"
    )
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


def _publish_rejected(prepared: Prepared, output: Path) -> None:
    path = RunFolder(output).rejected
    if not prepared.n_rejected:
        path.unlink(missing_ok=True)  # of an earlier run
        return
    output.mkdir(exist_ok=True)
    with written_whole(path) as part:
        shutil.copyfile(prepared.rejected_path, part)


@contextmanager
def _workspace(output: Path, inputs: list[str]) -> Iterator[Path]:
    """A folder for the tables, beside the output folder.

    Raises:
        ConfigError: The output is a file or has the ending of one, or would be written into what
            is read.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"the output {output} is no folder; name one, or one that is not there")
    if output.suffix.lower() in {Path(name).suffix for name in FILES}:
        raise ConfigError(
            f"the output {output} would be a folder with {', '.join(FILES)}; name one such as "
            f"{output.stem}"
        )
    check_output([output / name for name in FILES], inputs)
    make_folder(output)
    try:
        folder = tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".part", dir=output.parent)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)
