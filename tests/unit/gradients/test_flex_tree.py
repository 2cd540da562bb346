"""FlexAttention over the tree gives what the attention for processors gives, and is tried first."""

import logging
from typing import Any

import pytest
import torch
from model_helpers import WIDE, nested, tiny
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import Gemma3TextConfig, LlamaConfig, PretrainedConfig, Qwen3Config

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.prefix_tree import flex_tree
from gradgate.gradients.prefix_tree.flex_tree import (
    BLOCK,
    FlexStretchAttention,
    block_mask,
    padded_lengths,
)
from gradgate.gradients.prefix_tree.stretches import stretches
from gradgate.gradients.prefix_tree.tree_attention import Kind, StretchAttention
from gradgate.gradients.prefix_tree.tree_forward import TreeForward
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

CPU = torch.device("cpu")
WINDOWS = ["sliding_attention", "full_attention"]  # of the layers


@pytest.fixture
def flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; without one FlexAttention computes every score and asks the mask for each."""
    made = TreeForward.__init__

    def init(self: TreeForward, loaded: LoadedModel) -> None:
        made(self, loaded)
        self.attention = FlexStretchAttention

    monkeypatch.setattr(TreeForward, "__init__", init)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.usefixtures("flex")
@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**WIDE | {"num_key_value_heads": 4}),
        Qwen3Config(**WIDE, head_dim=16),
        Gemma3TextConfig(**WIDE, head_dim=16, sliding_window=20, layer_types=WINDOWS),
    ],
    ids=["llama", "qwen3-more-heads", "gemma3-windows"],
)
def test_scores_by_it_are_those_of_the_attention_for_processors(config: PretrainedConfig) -> None:
    loaded, samples = tiny(config), nested()
    settings = ScoringConfig(batch_tokens=311)
    scorer = Scorer(loaded, settings, longest=600)
    assert scorer.unshared_because is None
    assert scorer.forward._tree.attention is FlexStretchAttention  # it has passed the trial
    found = scorer.score(samples)
    scorer.forward._tree.attention = StretchAttention
    for one, other in zip(found, scorer.score(samples), strict=True):
        assert one.entropy_full == pytest.approx(other.entropy_full, abs=2e-5)
        assert one.entropy_crop == pytest.approx(other.entropy_crop, abs=2e-5)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


def long_branches() -> list[Tokens]:
    """A trunk, and branches of which each is several blocks long, and deeper ones below them."""
    trunk = [7] * 290
    rows = [[*trunk, *[i] * 300, *deeper] for i in (3, 4, 5) for deeper in ([8] * 9, [9] * 200)]
    return [Tokens(row, [True] * len(row)) for row in rows]


@pytest.mark.parametrize("window", [None, 1, 130, 300])
@pytest.mark.parametrize("n_tokens", [100, 600, 5_000])
def test_its_blocks_are_those_that_torch_finds_in_the_mask(
    n_tokens: int, window: int | None
) -> None:
    """Without a GPU nothing else depends on them: they are what a kernel leaves out."""
    tree = TreeForward(tiny(LlamaConfig(**WIDE)))
    n_full = n_left_out = 0
    shapes = set[tuple[int, int]]()
    for stretch in stretches(long_branches(), n_tokens):
        layout = tree.lay_out(stretch)
        ours = block_mask(layout, Kind(CPU, window))
        lengths = padded_lengths(layout)
        shapes.add(lengths)
        theirs = create_block_mask(ours.mask_mod, None, None, *lengths, CPU, BLOCK)
        for kind in ("kv", "full_kv"):
            assert seen(ours, kind) == seen(theirs, kind)
        n_full += sum(map(len, seen(ours, "full_kv")))
        n_seen = sum(map(len, seen(ours, "kv") + seen(ours, "full_kv")))
        n_left_out += ours.kv_indices.numel() - n_seen
    assert n_left_out > 0
    widest = 2 * BLOCK - 1  # between a query and a key of two blocks behind one another
    assert (n_full > 0) == (n_tokens >= BLOCK and (window is None or window > widest))
    assert len(shapes) <= 5  # which the kernel is compiled for


def seen(mask: BlockMask, kind: str) -> list[list[int]]:
    """The blocks of keys that are looked at, by block of queries."""
    numbers, indices = getattr(mask, f"{kind}_num_blocks"), getattr(mask, f"{kind}_indices")
    rows = zip(numbers[0, 0].tolist(), indices[0, 0].tolist(), strict=True)
    return [sorted(row[:n]) for n, row in rows]


@pytest.mark.usefixtures("flex")
@pytest.mark.parametrize("fault", ["wrong", "raises"])
def test_where_it_is_wrong_the_other_attention_is_used_and_the_log_says_so(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong from the second block of keys on, so that only a long trial can tell."""

    def kernel(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Any:
        if fault == "raises":
            raise NotImplementedError("no kernel for this head size")
        value = value.clone()
        value[:, :, BLOCK:] *= 1.5
        return flex_attention(query, key, value, **how)

    monkeypatch.setattr(flex_tree, "_kernel", lambda kind: kernel)
    with caplog.at_level(logging.WARNING, "gradgate"):
        scorer = Scorer(tiny(LlamaConfig(**WIDE)), ScoringConfig(), longest=600)
    assert scorer.unshared_because is None
    assert scorer.forward._tree.attention is StretchAttention
    assert "FlexAttention is not used" in caplog.text
