"""The picture of a gate run: the distribution of the scores and where the threshold lies."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.gradsentry.threshold import MIN_SAMPLES, MIN_SPREAD, density

INK, DENSITY, ACCEPTED, FLAGGED = "#1f2933", "#e08e0b", "#4c78a8", "#d1495b"


def plot_entropies(
    entropies: Floats,
    flagged: Marks,
    tau: float | None,
    title: str,
    output: Path,
) -> None:
    """Histogram of the entropies with their density and tau, as PNG.

    Args:
        entropies: In [0, 1], shape (n,).
        flagged: Which of them are flagged. (n,)
        tau: The threshold that flagged; None where there was none.
        title: One line; taken literally.
        output: The PNG file.
    """
    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0.0, 1.0, 81).tolist()
    honest, poisoned = entropies[~flagged], entropies[flagged]
    histogram = partial(axes.hist, bins=bins, histtype="stepfilled")  # one shape, no 80 bars
    histogram(honest, color=ACCEPTED, label=f"not flagged: {honest.size:,} rows")
    if poisoned.size:
        histogram(poisoned, color=FLAGGED, label=f"flagged: {poisoned.size:,} rows")
    if tau is not None:
        axes.axvline(tau, color=INK, linewidth=1.5, label=f"threshold {tau:.3f}")
    if entropies.size >= MIN_SAMPLES and entropies.std() >= MIN_SPREAD:
        grid = np.linspace(entropies.min(), entropies.max(), 500)
        curve = density(entropies, grid) * entropies.size * (bins[1] - bins[0])
        axes.plot(grid, curve, color=DENSITY, linewidth=1.2, label="kernel density")
    axes.set_xlim(0, 1)
    axes.set_xlabel("spectral entropy of the output-layer gradient")
    axes.set_ylabel("rows")
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(output)
