"""Prefix sharing: whether a model can compute a prefix once for all samples that have it."""

import torch
from peft import LoraConfig, PeftModel

from gradgate.data.tokens import Tokens
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.predicting import predicting_ids
from gradgate.gradients.prefix_tree.stretches import stretches
from gradgate.gradients.prefix_tree.tree_attention import PrefixSharingError, PrefixState
from gradgate.gradients.prefix_tree.tree_forward import TreeForward
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel

# Largest relative difference of hidden states at which a shared prefix counts as exact.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}

_FULL = {"full_attention", "sliding_attention"}  # layers that see all of a window


@torch.inference_mode()
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
    kinds = set(config.get("layer_types") or ()) - _FULL
    if kinds:
        return f"the model has layers of the kind {', '.join(sorted(kinds))}"
    window = config.get("sliding_window")
    inside = longest is not None and window is not None and longest <= window
    if window is not None and config.get("use_sliding_window") is not False and not inside:
        return f"the model sees {window} tokens at a time and samples may be longer"
    try:
        difference = _difference(loaded, tree)
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


def _difference(loaded: LoadedModel, tree: TreeForward) -> float:
    """Largest relative difference between a tree, in two steps, and its samples in one batch."""
    samples = [Tokens(row, [True] * len(row)) for row in _trial(loaded.n_vocabulary)]
    expected = iter(padded_forward(loaded, [predicting_ids(sample) for sample in samples]))
    state, worst = PrefixState(), 0.0
    for stretch in stretches(samples, 9):
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


def _trial(vocabulary: int) -> list[list[int]]:
    """Samples with nested prefixes, in order; one is the beginning of another."""
    trunk = [3, 1, 4, 1, 5]
    rows = [
        *(trunk, [*trunk, 2, 6, 5], [*trunk, 2, 6, 5, 3, 5], [*trunk, 2, 7, 1, 8], [*trunk, 9, 7]),
        [6, 2, 8, 3, 1, 8, 5],
    ]
    return sorted([token * 37 % vocabulary for token in row] for row in rows)
