"""How likely the model finds the tokens that samples give: each token of the tree once.

A token is evaluated when a sample that gives it ends. What is evaluated of the carried path goes
on with it, so that no later stretch does it again.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gradgate.gradients.exact import exact
from gradgate.gradients.logits import NextTokens
from gradgate.gradients.prefix_tree.layout import Layout
from gradgate.gradients.prefix_tree.tree_attention import PrefixState
from gradgate.gradients.prefix_tree.tree_forward import Computed
from gradgate.gradients.upload import upload


@exact
def given_logp(
    layout: Layout, before: PrefixState, computed: Computed, next_tokens: NextTokens
) -> tuple[Tensor, PrefixState]:
    """Evaluate what the samples that end in a stretch give.

    Args:
        layout: Of the stretch.
        before: What was carried to it.
        computed: The stretch.
        next_tokens: Evaluates tokens.

    Returns:
        ln p of their given tokens, sample by sample, float32 (G,); and the state that is carried
        on, with what is known now.
    """
    given, device = layout.given, computed.hidden.device
    is_known = np.zeros(len(layout.below), dtype=bool)
    logp = torch.full((len(layout.below),), torch.nan, device=device)
    if before.logp is not None:
        is_known[: layout.n_carried] = before.is_known
        logp[: layout.n_carried] = before.logp
    is_new = ~is_known[given.distinct]
    if is_new.any():
        at, above, tokens = (
            upload(values[is_new], device) for values in (given.distinct, given.above, given.tokens)
        )
        logp[at] = next_tokens.log_probabilities(computed.hidden[above], tokens)
        is_known[given.distinct[is_new]] = True
    on = upload(layout.carried_on, device)
    state = replace(computed.state, logp=logp[on], is_known=is_known[layout.carried_on])
    return logp[upload(given.at, device)], state
