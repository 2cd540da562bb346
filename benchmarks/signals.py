"""What the signals beside the published entropy add to the cost of scoring.

Usage: `python -m benchmarks.signals [--model MODEL --data FILE] [--samples N] [--quick]`

Both sides run the same forward pass. The reference computes the entropy of the published crop, the
loss and the norm of the crop, and needs Delta for an eighth of the vocabulary only; the other side
is what gradgate does: the entropy of all of the gradient, its norm and its sketch as well, without
and with the log-probabilities of the tokens that are not supervised. Gradient
recurrence, which comes afterwards, is timed for itself, on the sketches drawn around those of the
samples, and where it is approximate compared with all pairs.

Without MODEL and FILE: a random Llama of 100 M parameters and samples of WebQA's shape.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.harness import (
    default_device,
    in_turns,
    machine,
    median,
    parser,
    ratios,
    show,
    spread,
    timed,
)  # fmt: skip
from benchmarks.models import LLAMA_100M, TINY, random_model
from benchmarks.precision import first_rows
from benchmarks.shapes import webqa
from gradgate.common.arrays import Ints
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.blocks import blocks_of
from gradgate.gradients.head import HeadBackward
from gradgate.gradients.logits import NextTokens, Room
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.gradients.sketch import SIZE
from gradgate.gradients.spectrum import spectral_entropy
from gradgate.gradients.values import HeadGradients, Values
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.scoring import recurrence
from gradgate.scoring.recurrence import gradient_recurrence

ROWS = (10_000, 20_000, 40_000, 80_000)
QUICK_ROWS = (1_000, 2_000)
COMPARED = 1_000  # rows
BAR = 1.15  # of the gradient's signals
TOKENS_BAR = 1.3  # of the log-probabilities, over all other signals
HEADINGS = ["run", "s", "ms/sample", "times the crop alone"]

Sketches = npt.NDArray[np.float16]


class CropOnly(HeadGradients):
    """The published entropy, loss and norm of the crop."""

    def _values(
        self, states: Tensor, targets: Tensor, begins: Tensor, lengths: Ints, max_bytes: int
    ) -> Values:
        borders = (self._crop_columns,)
        backward = HeadBackward(
            self._loaded, states, targets, max_bytes, self._room, borders=borders
        )
        seen = backward.targets()
        hidden = states[:, : self._crop_hidden].double() * seen.factor[:, None]
        blocks = list(blocks_of(hidden, lengths))
        for piece in backward.pieces():
            if piece.start == self._crop_columns:
                break
            for block in blocks:
                block.add(piece.delta, max_bytes // 64)
        numbers = []
        for block in blocks:
            found = block.products.spectrum(block.lengths, self._crop_columns, self._k)
            loss = (block.padded(seen.loss) * block.is_real).sum(dim=1) / block.lengths
            entropy = spectral_entropy(found.sigma)
            numbers.append(torch.stack([entropy, entropy, loss, found.norm], dim=-1))
        none = torch.zeros(len(lengths), SIZE, dtype=torch.float16, device=states.device)
        return Values(torch.cat(numbers), none, seen.loss, None)


class NoTokens(NextTokens):
    """Says nothing of tokens that are not supervised."""

    def log_probabilities(self, states: Tensor, tokens: Tensor) -> Tensor:
        return states.new_zeros(len(tokens), dtype=torch.float32)


def against_crop(
    loaded: LoadedModel, samples: list[Tokens], n_rounds: int
) -> tuple[list[list[str]], list[Score]]:
    """Table lines, and the scores."""
    both, gradient, reference = (Scorer(loaded, ScoringConfig()) for _ in range(3))
    reference._gradients = CropOnly(loaded, ScoringConfig().k, Room())
    for scorer in (gradient, reference):
        scorer.forward._next_tokens = NoTokens(loaded, scorer._logits)
    scores = both.score(samples)  # both are warm before the clock runs
    reference.score(samples[:8])
    runs: dict[str, Callable[[], object]] = {
        "crop alone": lambda: reference.score(samples),
        "all but token_logp": lambda: gradient.score(samples),
        "all signals": lambda: both.score(samples),
    }
    seconds = in_turns(n_rounds, *runs.values())
    lines = [
        [name, spread(taken), f"{1000 * median(taken) / len(samples):.2f}",
         spread(ratios(taken, seconds[0]), 3)]
        for name, taken in zip(runs, seconds, strict=True)
    ]  # fmt: skip
    for what, one, other, bar in (("gradient", 1, 0, BAR), ("token_logp", 2, 1, TOKENS_BAR)):
        ratio = ratios(seconds[one], seconds[other])
        verdict = "met" if median(ratio) <= bar else "MISSED"
        lines.append([f"{what}: bar {bar}", "", "", f"{spread(ratio, 3)}: {verdict}"])
    return lines, scores


def drawn(real: Sketches, n: int) -> Sketches:
    """Sketches between two real ones each, with noise: (n, 256)."""
    rng = np.random.default_rng(0)
    one, other = (real[rng.integers(len(real), size=n)].astype(np.float32) for _ in range(2))
    made = one + rng.uniform(0, 0.7, (n, 1)) * other + rng.normal(scale=0.03, size=(n, SIZE))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float16)


def recurrence_line(real: Sketches, n: int) -> list[str]:
    """Seconds for n rows, and the differences from all pairs."""
    made = drawn(real, n)
    digests = np.random.default_rng(1).integers(2**63, size=(n, 2)).astype(np.uint64)
    found: list[npt.NDArray[np.float64]] = []

    def blocks() -> Iterator[Sketches]:
        return (made[start : start + 8_192] for start in range(0, n, 8_192))

    def run() -> None:
        found.append(gradient_recurrence(blocks, digests, np.ones(n, dtype=bool)))

    seconds = timed(run)
    line = [f"{n:,}", f"{seconds:.2f}", f"{1000 * seconds / n:.3f}"]
    if n <= recurrence.EXACT:
        return [*line, "all pairs", ""]
    rows = np.random.default_rng(2).choice(n, COMPARED, replace=False)
    difference = np.abs(found[0][rows] - _all_pairs(made, rows))
    return [*line, f"{difference.mean():.4f}", f"{np.quantile(difference, 0.95):.4f}"]


def _all_pairs(made: Sketches, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Recurrence of some rows by comparison with every other."""
    centred = made.astype(np.float32) - made.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = []
    for row in rows:
        cosines = np.delete(centred @ centred[row], row)
        found.append(np.partition(cosines, -recurrence.NEIGHBOURS)[-recurrence.NEIGHBOURS :].mean())
    return np.array(found)


def main() -> None:
    """Print two tables."""
    arguments = _arguments()
    if arguments.model is None:
        config = TINY if arguments.quick else LLAMA_100M
        loaded = random_model(config, default_device(), torch.float32)
        samples = webqa(arguments.samples, config.vocab_size, 0)
    else:
        model = ModelConfig(path=arguments.model, dtype="float32")
        loaded = load_model(model)
        samples = first_rows(arguments.data, model, arguments.samples)
    lines, scores = against_crop(loaded, samples, arguments.rounds)
    name = arguments.model or "a random Llama"
    show(f"{len(samples):,} samples, {name}, float32; {machine(loaded.device)}", HEADINGS, lines)
    real = np.stack([np.frombuffer(score.sketch or b"", dtype="<f2") for score in scores])
    show(
        "Gradient recurrence",
        ["rows", "s", "ms/row", "mean difference", "95 % of differences below"],
        [recurrence_line(real, n) for n in (QUICK_ROWS if arguments.quick else ROWS)],
    )


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--model")
    made.add_argument("--data", type=Path)
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
