"""What FIHS at the head adds to the cost of scoring.

Usage: `python -m benchmarks.safety [--model MODEL --data FILE] [--samples N] [--quick]`

Both sides score the same samples with all other signals; one of them is held against a probing set
besides. The terms are made of the samples' own beginnings, 30 with ten openings of eight tokens
each, so that they are as many as a real probing set has: cost does not depend on what they say.

Without MODEL and FILE: a random Llama of 100 M parameters and samples of WebQA's shape. Random
openings make the gradient as wide as it can be, so that the basis has its largest rank.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

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
    timed,
)  # fmt: skip
from benchmarks.models import LLAMA_100M, TINY, random_model
from benchmarks.precision import first_rows
from benchmarks.shapes import webqa
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.safety import ProxyTerm, SafetyGradient, head_factors
from gradgate.gradients.scorer import Scorer
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel

BAR = 1.15
N_PROMPTS, N_REFUSALS, N_OPENINGS, N_TOKENS, N_FIRST = 30, 4, 10, 8, 5
HEADINGS = ["run", "s", "ms/sample", "times the scoring without"]


def proxies(samples: list[Tokens], n_vocabulary: int) -> dict[str, list[ProxyTerm]]:
    """Terms after the beginnings of some samples."""
    rng = np.random.default_rng(0)
    openings = [rng.integers(3, n_vocabulary, N_TOKENS).tolist() for _ in range(N_OPENINGS)]
    found: dict[str, list[ProxyTerm]] = {"all": [], "first": [], "published": []}
    for sample in samples[:N_PROMPTS]:
        prompt = sample.input_ids[: sample.is_target.index(True, 1)]
        none = [0.0] * len(prompt)
        for i, opening in enumerate(openings):
            sign = 1 / N_REFUSALS if i < N_REFUSALS else -1 / (N_OPENINGS - N_REFUSALS)
            for name, n in (("all", N_TOKENS), ("first", N_FIRST)):
                found[name].append(ProxyTerm(prompt + opening[:n], [*none, *[sign / n] * n]))
        for sign, opening in ((1.0, openings[0]), (-1.0, openings[-1])):
            found["published"].append(ProxyTerm([*prompt, opening[0]], [*none, sign]))
    return found


def compare(
    loaded: LoadedModel, samples: list[Tokens], safety: SafetyGradient, n_rounds: int
) -> list[list[str]]:
    """Time both sides in turns."""
    plain = Scorer(loaded, ScoringConfig())
    probed = Scorer(loaded, ScoringConfig(), safety=safety)
    runs: dict[str, Callable[[], object]] = {
        "without a probing set": lambda: plain.score(samples),
        "with FIHS at the head": lambda: probed.score(samples),
    }
    plain.score(samples[:8])  # before the clock runs
    probed.score(samples[:8])
    seconds = in_turns(n_rounds, *runs.values())
    lines = [
        [name, spread(taken), f"{1000 * median(taken) / len(samples):.2f}",
         spread(ratios(taken, seconds[0]), 3)]
        for name, taken in zip(runs, seconds, strict=True)
    ]  # fmt: skip
    ratio = ratios(seconds[1], seconds[0])
    verdict = "met" if median(ratio) <= BAR else "MISSED"
    return [*lines, [f"bar {BAR}", "", "", f"{spread(ratio, 3)}: {verdict}"]]


def main() -> None:
    """Print a table."""
    arguments = _arguments()
    if arguments.model is None:
        config = TINY if arguments.quick else LLAMA_100M
        loaded = random_model(config, default_device(), torch.float32)
        samples = webqa(arguments.samples, config.vocab_size, 0)
    else:
        model = ModelConfig(path=arguments.model, dtype=arguments.dtype)
        loaded = load_model(model)
        samples = first_rows(arguments.data, model, arguments.samples)
    made: list[SafetyGradient] = []
    terms = proxies(samples, loaded.n_vocabulary)
    seconds = timed(lambda: made.append(head_factors(loaded, terms, range(3, 9))))
    lines = compare(loaded, samples, made[0], arguments.rounds)
    lost = max(made[0].residual.values())
    basis = f"{made[0].rank} directions, at most {lost:.1e} of the gradient left out"
    show(
        f"{len(samples):,} samples, {arguments.model or 'a random Llama'}, "
        f"{name_of(loaded.dtype)}; {machine(loaded.device)}",
        HEADINGS,
        [*lines, [f"once, for the probing set: {basis}", f"{seconds:.1f}", "", ""]],
    )


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--model")
    made.add_argument("--data", type=Path)
    made.add_argument("--dtype", default="auto")
    made.add_argument("--samples", type=int, default=300)
    made.add_argument("--rounds", type=int, default=5)
    arguments = made.parse_args()
    if (arguments.model is None) != (arguments.data is None):
        made.error("--model and --data go together")
    if arguments.quick:
        arguments.samples, arguments.rounds = 60, 2
    return arguments


if __name__ == "__main__":
    main()
