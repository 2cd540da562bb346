"""What is said of a score table."""

from pathlib import Path

import numpy as np

from gradgate.common import parquet
from gradgate.common.arrays import Floats
from gradgate.common.run_folder import is_scored
from gradgate.errors import ModelError
from gradgate.methods.gradsentry.threshold import PUBLISHED_CONSTANT, kde_valley


def require_a_score(path: Path, model: str) -> None:
    """Refuse a table without a single score.

    Raises:
        ModelError: It says why none could be scored.
    """
    table = parquet.table(path, ["status", "reason"])
    if is_scored(table).any():
        return
    found = sorted(reason for reason in table["reason"].unique().to_pylist() if reason is not None)
    reasons = [reason.replace("not finite", "not finite (NaN or infinite)") for reason in found]
    raise ModelError(
        f"none of the {len(table):,} rows could be scored by {model}: {'; '.join(reasons)}"
    )


def of_entropies(path: Path) -> list[str]:
    """Where the spectral entropies of a table lie, in lines; none without a score."""
    entropies = _entropies(path)
    if entropies.size == 0:
        return []
    low, middle, high = np.quantile(entropies, [0.05, 0.5, 0.95])
    found = kde_valley(entropies)
    tau = PUBLISHED_CONSTANT if found.tau is None else found.tau
    origin = (
        f"no reliable KDE valley ({found.state}); above the published constant {tau}"
        if found.tau is None
        else f"above the KDE valley at {tau:.3f}"
    )
    return [
        f"spectral entropy: 5 % {low:.3f}, median {middle:.3f}, 95 % {high:.3f}",
        f"{origin} lie {(entropies > tau).mean():.1%} of the rows",
    ]


def _entropies(path: Path) -> Floats:
    """Spectral entropies of the scored rows: (n,)."""
    table = parquet.table(path, ["status", "spectral_entropy"])
    return np.asarray(table["spectral_entropy"].to_numpy()[is_scored(table)], np.float64)
