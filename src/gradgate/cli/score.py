"""`gradgate score`: the score table, and nothing more."""

from pathlib import Path

import numpy as np

from gradgate.cli.lines import say
from gradgate.cli.output import (
    publish_rejected,
    quiet_libraries,
    rejected_path,
    require_file,
    workspace,
)
from gradgate.cli.phases import fetch, of_scoring, score
from gradgate.common import parquet
from gradgate.common.arrays import Floats
from gradgate.common.files import put_in_place
from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.data.prepare import Prepared, rejection_reasons
from gradgate.errors import DataError, ModelError
from gradgate.methods.gradsentry.threshold import PUBLISHED_CONSTANT, kde_valley
from gradgate.scoring.config import ScoreConfig


def run_score(config: ScoreConfig, output: Path) -> int:
    """Score a dataset; 0, or 1 when samples could not be scored.

    Raises:
        GradgateError: Not a single one could, or a step broke.
    """
    quiet_libraries()
    inputs = [config.data.source, config.model.path, *filter(None, [config.model.adapter])]
    require_file(output)
    with workspace(output, [rejected_path(output)], inputs) as folder:
        run = RunFolder(folder)
        prepared = fetch(config, run, keep_rows=False)
        publish_rejected(prepared, output)
        if prepared.n_samples == 0:
            raise DataError(
                f"none of the {prepared.n_rows} rows of {prepared.source} can be scored: "
                f"{rejection_reasons(prepared)}; they are in {rejected_path(output)}"
            )
        scored = score(prepared, config, run)
        if scored.n_scored == 0:
            raise ModelError(
                f"none of the {prepared.n_samples:,} rows could be scored by {config.model.path}: "
                f"{'; '.join(_failures(run.scores))}"
            )
        put_in_place(run.scores, output)
    say(f"{of_scoring(scored.summary)}: {output}")
    _say_summary(output, prepared)
    n_failed = prepared.n_samples - scored.n_scored
    if n_failed:
        say(f"{n_failed:,} rows could not be scored; `reason` in {output} says why")
    return 1 if n_failed else 0


def _failures(path: Path) -> list[str]:
    """Why rows have no score, each reason once."""
    reasons: list[str | None] = parquet.table(path, ["reason"])["reason"].unique().to_pylist()
    found = sorted(reason for reason in reasons if reason is not None)
    return [reason.replace("not finite", "not finite (NaN or infinite)") for reason in found]


def _say_summary(output: Path, prepared: Prepared) -> None:
    if prepared.n_rejected:
        say(f"{prepared.n_rejected:,} rows rejected, reasons in {rejected_path(output)}")
    entropies = _entropies(output)
    if entropies.size == 0:
        return
    low, middle, high = np.quantile(entropies, [0.05, 0.5, 0.95])
    say(f"spectral entropy: 5 % {low:.3f}, median {middle:.3f}, 95 % {high:.3f}")
    found = kde_valley(entropies)
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    origin = (
        f"no reliable KDE valley ({found.state}); above the published constant {tau}"
        if found.tau is None
        else f"above the KDE valley at {tau:.3f}"
    )
    say(f"{origin} lie {(entropies > tau).mean():.1%} of the rows")


def _entropies(path: Path) -> Floats:
    """Spectral entropies of the scored rows: (n,)."""
    table = parquet.table(path, ["status", "spectral_entropy"])
    return np.asarray(table["spectral_entropy"].to_numpy()[is_scored(table)], np.float64)
