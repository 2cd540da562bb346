"""Cost of scoring against the bare forward pass over the distinct tokens: the floor.

Usage: `python -m benchmarks.against_forward [--samples N] [--rounds R] [--quick]`

The bare forward knows nothing of the samples. It runs random ids through the body of the model, in
full batches of sequences of one length without padding, and through the head afterwards:

- as many tokens as the prefix tree over the samples has nodes (each token that differs from all
  others in itself or in what stands before it counts once);
- in sequences of the median length of a sample, or of the median part of a sample that is its own;
- the head at as many positions as the samples have supervised tokens, or at all of them
  (`model(ids)`, as the library runs it).

It gets what scoring cannot have: equal lengths, and no attention to a shared beginning where the
sequences are short, and it says nothing of tokens that are given. `model(ids)` has the head at as
many positions as gradgate. Times are those of the processor; on a GPU those of the clock.

float32 on a CPU, and bfloat16 where the processor has instructions for it.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

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
from benchmarks.models import LLAMA_2_7B, LLAMA_100M, TINY, random_model
from benchmarks.shapes import Counts, count, stories, webqa
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

HEADINGS = ["data", "run", "tokens", "s", "ms/sample", "gradgate takes"]


@dataclass(frozen=True)
class Bare:
    """A bare forward pass: batches of ids, and how many positions of each go through the head."""

    batches: list[Tensor]
    n_heads: list[int]

    @property
    def n_tokens(self) -> int:
        """Tokens that go through the body."""
        return sum(ids.numel() for ids in self.batches)


def bare(loaded: LoadedModel, counts: Counts, length: int, batch_tokens: int) -> Bare:
    """Full batches of sequences of `length`, and one shorter sequence with the tokens left."""
    torch.manual_seed(0)
    n_sequences, left = divmod(counts.distinct, length)
    most = max(1, batch_tokens // length)
    shapes = [(min(most, n_sequences - done), length) for done in range(0, n_sequences, most)]
    shapes += [(1, left)] if left else []
    return Bare(
        [torch.randint(3, loaded.n_vocabulary, shape, device=loaded.device) for shape in shapes],
        [round(counts.supervised * n * size / counts.distinct) for n, size in shapes],
    )


@torch.inference_mode()
def run_body_and_head(loaded: LoadedModel, work: Bare) -> None:
    """The body at every token, the head at the supervised share of each batch."""
    for ids, n_head in zip(work.batches, work.n_heads, strict=True):
        hidden = loaded.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        loaded.head(hidden.flatten(0, 1)[:n_head])


@torch.inference_mode()
def run_whole(loaded: LoadedModel, work: Bare) -> None:
    """The head at every token, as the library does it."""
    for ids in work.batches:
        loaded.model(input_ids=ids, use_cache=False)


def compare(
    name: str, loaded: LoadedModel, samples: list[Tokens], n_rounds: int
) -> list[list[str]]:
    """Table lines: gradgate, and each bare forward pass with gradgate's cost as a multiple."""
    counts = count(samples)
    scorer = Scorer(loaded, ScoringConfig())
    long, short = (
        bare(loaded, counts, length, scorer.forward.tokens.size)
        for length in (counts.median_length, counts.median_own)
    )
    runs: dict[str, Callable[[], object]] = {
        "gradgate": partial(scorer.score, samples),
        f"bare, sequences of {counts.median_length}": partial(run_body_and_head, loaded, long),
        f"bare, sequences of {counts.median_own}": partial(run_body_and_head, loaded, short),
        f"whole model, sequences of {counts.median_length}": partial(run_whole, loaded, long),
    }
    scorer.score(samples[:4])  # both are warm before the clock runs
    run_body_and_head(loaded, Bare(long.batches[:1], long.n_heads[:1]))
    scorer.forward.n_computed = 0
    seconds = dict(zip(runs, in_turns(n_rounds, *runs.values(), clock=work_clock()), strict=True))
    computed = scorer.forward.n_computed // n_rounds
    tokens = [computed, long.n_tokens, short.n_tokens, long.n_tokens]
    return [
        [
            name,
            run,
            f"{n:,}",
            spread(taken),
            f"{1000 * median(taken) / len(samples):.2f}",
            "" if run == "gradgate" else spread(ratios(seconds["gradgate"], taken)),
        ]
        for (run, taken), n in zip(seconds.items(), tokens, strict=True)
    ]


def dtypes(device: torch.device) -> list[torch.dtype]:
    """What the device computes in at full speed and gradgate uses."""
    if device.type == "cuda":
        return [torch.bfloat16]
    half = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return [torch.float32, torch.bfloat16] if half else [torch.float32]


def main() -> None:
    """Print a table for each dtype."""
    arguments = _arguments()
    device = default_device()
    config = TINY if arguments.quick else LLAMA_2_7B if device.type == "cuda" else LLAMA_100M
    kinds = {"WebQA": webqa, "stories": stories}
    for dtype in dtypes(device):
        loaded = random_model(config, device, dtype)
        rows = []
        for name, draw in kinds.items():
            samples = draw(arguments.samples, config.vocab_size, 0)
            rows += compare(name, loaded, samples, arguments.rounds)
        parameters = sum(p.numel() for p in loaded.model.parameters())
        title = f"Random Llama of {parameters / 1e6:,.0f} M, {name_of(dtype)}; {machine(device)}"
        show(title, HEADINGS, rows)
    print(f"{arguments.samples:,} samples each; medians of {arguments.rounds} rounds in turns")


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--samples", type=int, default=3_400 if torch.cuda.is_available() else 300)
    made.add_argument("--rounds", type=int, default=3)
    arguments = made.parse_args()
    if arguments.quick:
        arguments.samples, arguments.rounds = 60, 2
    return arguments


if __name__ == "__main__":
    main()
