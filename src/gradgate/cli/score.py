"""`gradgate score`: the score table, and nothing more."""

from pathlib import Path

from gradgate.cli.lines import say
from gradgate.cli.output import (
    TABLE,
    earlier_aside,
    inputs_of,
    publish_rejected,
    quiet_libraries,
    rejected_path,
    require_file,
    workspace,
)
from gradgate.cli.phases import fetch, of_scoring, score
from gradgate.cli.rejections import all_rejected, first_rejected
from gradgate.cli.table import of_entropies, require_a_score
from gradgate.common.files import put_in_place
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import rejection_reasons
from gradgate.errors import DataError
from gradgate.scoring.config import ScoreConfig


def run_score(config: ScoreConfig, output: Path) -> int:
    """Score a dataset; 0, or 1 when samples could not be scored.

    Raises:
        GradgateError: Not a single one could, or a step broke.
    """
    quiet_libraries()
    require_file(output, *TABLE)
    outputs = [output, rejected_path(output)]
    with workspace(output, outputs[1:], inputs_of(config)) as folder, earlier_aside(outputs):
        run = RunFolder(folder)
        prepared = fetch(config, run, keep_rows=False)
        publish_rejected(prepared, rejected_path(output))
        if prepared.n_samples == 0:
            raise DataError(
                f"none of the {prepared.n_rows} rows of {prepared.source} can be scored: "
                f"{rejection_reasons(prepared)}; they are in {rejected_path(output)}"
            )
        scored = score(prepared, config, run)
        require_a_score(run.scores, config.model.path)
        put_in_place(run.scores, output)
    say(f"{of_scoring(scored.summary)}: {output}")
    if prepared.n_rejected:
        say(f"{prepared.n_rejected:,} rows rejected:")
        shown = first_rejected(rejected_path(output), config.data.source)
        for line in all_rejected(shown, prepared.n_rejected, rejected_path(output)):
            say(f"  {line}")
    for line in of_entropies(output):
        say(line)
    n_failed = prepared.n_samples - scored.n_scored
    if n_failed:
        say(f"{n_failed:,} rows could not be scored; `reason` in {output} says why")
    return 1 if n_failed else 0
