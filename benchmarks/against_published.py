"""Cost of a score against the published procedure, on the same samples in one run.

Usage: `python -m benchmarks.against_published [--samples N] [--subset M] [--rounds R] [--window W]
[--quick]`

Both sides take turns. The published procedure runs on M samples that are spread evenly over the
lengths, and its cost a sample is taken for all; gradgate scores all N, for what it saves depends on
how many samples share their beginning. Both are compared by entropy as well, and a difference above
the tolerance ends the run with an error.

On a GPU the model has the shape of Llama-2-7B, in bfloat16; on a CPU it has 100 M parameters, in
float32 and, where the processor has instructions for it, in bfloat16. Times are those of the
processor; on a GPU those of the clock. With `--window` the layers see so many tokens at a time.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from benchmarks.against_forward import dtypes
from benchmarks.harness import (
    default_device,
    in_turns,
    machine,
    median,
    name_of,
    parser,
    ratios,
    show,
    spread,
    work_clock,
)
from benchmarks.models import LLAMA_2_7B, LLAMA_100M, TINY, random_model, with_window
from benchmarks.published_procedure import published_entropies
from benchmarks.shapes import count, stories, webqa
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

# The randomised SVD is off by up to 0.007 on trained models, and by 1e-5 on these. In bfloat16 the
# published gradient is itself rounded to 8 bits: 5e-4 was seen.
TOLERANCE = {torch.float32: 0.002, torch.bfloat16: 0.02}
BAR_RATIO, BAR_MS = 15.0, 2.0  # for 7B on a GPU, WebQA

HEADINGS = [
    "data", "samples", "distinct tokens", "published, ms/sample", "gradgate, ms/sample",
    "times as fast", "largest difference in entropy",
]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One kind of data on one model.

    Attributes:
        published: Milliseconds a sample, in each round.
        ours: The same.
        difference: Largest absolute difference in entropy over the published side's samples.
    """

    published: list[float]
    ours: list[float]
    difference: float


def compare(loaded: LoadedModel, samples: list[Tokens], n_subset: int, n_rounds: int) -> Comparison:
    """Time both sides in turns, and hold their entropies against each other."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].input_ids))
    chosen = [order[(2 * i + 1) * len(order) // (2 * n_subset)] for i in range(n_subset)]
    subset = [samples[i] for i in chosen]
    scorer = Scorer(loaded, ScoringConfig())
    scorer.score(subset[:4])  # both are warm before the clock runs
    published_entropies(loaded, subset[:2])
    found: dict[str, list[float | None]] = {}

    def published() -> None:
        found["published"] = [*published_entropies(loaded, subset)]

    def ours() -> None:
        found["ours"] = [score.entropy_crop for score in scorer.score(samples)]

    theirs_s, ours_s = in_turns(n_rounds, published, ours, clock=work_clock())
    return Comparison(
        [1000 * seconds / len(subset) for seconds in theirs_s],
        [1000 * seconds / len(samples) for seconds in ours_s],
        _largest_difference(found["published"], [found["ours"][i] for i in chosen]),
    )


def _largest_difference(one: list[float | None], other: list[float | None]) -> float:
    """Infinite where a side has no score: that is a difference too."""
    pairs = zip(one, other, strict=True)
    return max(float("inf") if a is None or b is None else abs(a - b) for a, b in pairs)


def main() -> None:
    """Print a line for each kind of data; exit with an error when the scores differ."""
    arguments = _arguments()
    device = default_device()
    config: PretrainedConfig = LLAMA_2_7B if device.type == "cuda" else LLAMA_100M
    if arguments.quick:
        config = TINY
    if arguments.window is not None:
        config = with_window(config, arguments.window)
    for dtype in dtypes(device):
        _in_dtype(arguments, config, device, dtype)


def _in_dtype(
    arguments: argparse.Namespace,
    config: PretrainedConfig,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    loaded = random_model(config, device, dtype)
    kinds: dict[str, Callable[[int, int, int], list[Tokens]]] = {"WebQA": webqa, "stories": stories}
    rows, results = [], {}
    digits = 2 if device.type == "cuda" else 0
    for name, draw in kinds.items():
        samples = draw(arguments.samples, config.vocab_size, 0)
        found = compare(loaded, samples, arguments.subset, arguments.rounds)
        results[name] = found
        counts = count(samples)
        rows.append(
            [
                name,
                f"{len(samples):,}",
                f"{counts.distinct:,} of {counts.tokens:,}",
                spread(found.published, digits),
                spread(found.ours, digits),
                spread(ratios(found.published, found.ours)),
                f"{found.difference:.1e}",
            ]
        )
    parameters = sum(p.numel() for p in loaded.model.parameters())
    kind = "Llama" if arguments.window is None else f"Mistral with a window of {arguments.window}"
    title = f"Random {kind} of {parameters / 1e6:,.0f} M, {name_of(dtype)}; {machine(device)}"
    show(title, HEADINGS, rows)
    print(f"published on {arguments.subset} of the samples; medians of {arguments.rounds} rounds")
    if config is LLAMA_2_7B:
        _print_bar(results["WebQA"])
    worst = max(found.difference for found in results.values())
    if not worst <= TOLERANCE[dtype]:
        raise SystemExit(f"the scores differ by {worst:.3g}, more than {TOLERANCE[dtype]}")


def _print_bar(found: Comparison) -> None:
    ratio, cost = median(ratios(found.published, found.ours)), median(found.ours)
    met = "met" if ratio >= BAR_RATIO and cost <= BAR_MS else "MISSED"
    print(f"bar of {BAR_RATIO:g} times and {BAR_MS:g} ms: {met} ({ratio:.1f} times, {cost:.2f} ms)")


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    gpu = torch.cuda.is_available()
    made.add_argument("--samples", type=int, default=3_400 if gpu else 400)
    made.add_argument("--subset", type=int, default=50 if gpu else 30)
    made.add_argument("--rounds", type=int, default=5 if gpu else 3)
    made.add_argument("--window", type=int)
    arguments = made.parse_args()
    if arguments.quick:
        arguments.samples, arguments.subset, arguments.rounds = 60, 10, 2
    arguments.subset = min(arguments.subset, arguments.samples)
    return arguments


if __name__ == "__main__":
    main()
