"""Prefix sharing: whether a model can compute a prefix once for all samples that have it."""

import logging
import sys

import torch
from peft import LoraConfig, PeftModel

from gradgate.data.tokens import Tokens
from gradgate.gradients.exact import exact
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicting_ids
from gradgate.gradients.prefix_tree.flex_tree import FlexStretchAttention
from gradgate.gradients.prefix_tree.stretches import stretches
from gradgate.gradients.prefix_tree.tree_attention import (
    PrefixSharingError,
    PrefixState,
    StretchAttention,
)
from gradgate.gradients.prefix_tree.tree_forward import TreeForward
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel, limit_of

logger = logging.getLogger(__name__)

# Largest relative difference of hidden states at which a shared prefix counts as exact.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}

_BEYOND = 64  # tokens of a sample beyond the window of a model, that a tree is tried on
_TAIL = 5  # tokens of a sample of a trial behind the trunk, at most
_FEW = 3  # samples of a trial that is as long as a window
LONG = 400  # tokens of a sample that FlexAttention is tried on: several of its blocks
_KNOWN = {"full_attention", "sliding_attention"}  # layers that see all above a token, or a window


@exact
def why_not_shared(loaded: LoadedModel, tree: TreeForward, longest: int | None) -> str | None:
    """Try it on a small tree: None, or the reason why prefixes cannot be shared.

    Args:
        loaded: The model.
        tree: Its forward pass over a tree.
        longest: Tokens of the longest sample that will come, when it is known.
    """
    if isinstance(loaded.model, PeftModel) and not _is_plain_lora(loaded.model):
        return "the adapter may look at the whole row of tokens"
    config = loaded.model.config.get_text_config().to_dict()
    kinds = set(config.get("layer_types") or ()) - _KNOWN
    if kinds:
        return f"the model has layers of the kind {', '.join(sorted(kinds))}"
    if tree.attention is FlexStretchAttention:
        why = _why_wrong(loaded, tree, longest)
        if why is None:
            return None
        logger.warning("FlexAttention is not used: %s", why)
        tree.attention = StretchAttention
    return _why_wrong(loaded, tree, longest)


def _why_wrong(loaded: LoadedModel, tree: TreeForward, longest: int | None) -> str | None:
    """Try trees of samples: None, or why they are not as without a tree."""
    try:
        difference = _difference(loaded, tree, longest)
    except PrefixSharingError as error:
        return str(error)
    except Exception as error:  # models that take no position_ids, or anything else
        return f"its attention cannot be replaced ({type(error).__name__}: {error})"
    if difference <= TOLERANCE[loaded.dtype]:
        return None
    return f"with shared prefixes its hidden states differ by {difference:.1%}"


def _is_plain_lora(model: PeftModel) -> bool:
    """Whether every adapter does the same to a token wherever it stands."""
    return all(
        isinstance(adapter, LoraConfig) and not adapter.alora_invocation_tokens
        for adapter in model.peft_config.values()
    )


def _difference(loaded: LoadedModel, tree: TreeForward, longest: int | None) -> float:
    """Largest relative difference between trees, in two steps, and their samples in one batch."""
    settings, vocabulary = loaded.model.config, loaded.n_vocabulary
    trees = [(_trial(vocabulary), 9)]
    limit = limit_of(settings, longest or sys.maxsize)
    if tree.attention is FlexStretchAttention and limit >= LONG:  # it works in blocks
        trees.append((_trial(vocabulary, LONG - 10), LONG - 30))
    window = getattr(settings.get_text_config(), "sliding_window", None)  # what transformers asks
    if window is not None and window + 1 < limit:  # layers that do not see all of a sample
        rows = _trial(vocabulary, min(limit, window + _BEYOND) - _TAIL)
        some = sorted(sorted(rows, key=len)[-_FEW:])
        trees.append((some, window))
    return max(_tree_difference(loaded, tree, rows, n_tokens) for rows, n_tokens in trees)


def _tree_difference(
    loaded: LoadedModel, tree: TreeForward, rows: list[list[int]], n_tokens: int
) -> float:
    """For samples with these ids, in steps of so many tokens."""
    samples = [Tokens(row, [True] * len(row)) for row in rows]
    expected = iter(padded_forward(loaded, [predicting_ids(sample) for sample in samples]))
    state, worst = PrefixState(), 0.0
    for stretch in stretches(samples, n_tokens):
        layout = tree.lay_out(stretch)
        with tree.active():
            computed = tree.run(stretch, layout, state)
        state = computed.state
        for at in layout.predicting:
            plain = next(expected)[: len(at)].double()
            shared = computed.hidden[upload(at, plain.device)].double()
            difference = float((shared - plain).norm() / plain.norm())
            worst = max(worst, difference) if difference == difference else float("inf")
    return worst


def _trial(vocabulary: int, n_trunk: int = 5) -> list[list[int]]:
    """Samples with nested prefixes, in order; one is the beginning of another."""
    trunk = [3, 1, 4, 1, 5, *range(9, n_trunk + 4)][:n_trunk]
    rows = [
        *(trunk, [*trunk, 2, 6, 5], [*trunk, 2, 6, 5, 3, 5], [*trunk, 2, 7, 1, 8], [*trunk, 9, 7]),
        [6, 2, 8, 3, 1, 8, 5],
    ]
    return sorted([token * 37 % vocabulary for token in row] for row in rows)
