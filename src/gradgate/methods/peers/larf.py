"""A representation filter like LARF (Li et al. 2025, EMNLP, arXiv 2507.18631).

Two steps, as in the paper:

1. The safety-sensitive layer is the one whose strength changes most how readily the model refuses
   prompts that only sound harmful. The paper scales each layer's weights by 0.7 to 1.3 and counts
   refusals among generated answers. This scales what each block adds to the residual stream by 0.8
   and 1.2 and takes the difference of the log-probability of a refusal's first token: forward only,
   so that it is LARF-like and not LARF.
2. A row's score is the mean cosine of its last token's hidden state behind that layer to unsafe
   references (harmful prompts with replies that comply) less that to safe ones (with replies that
   refuse).

The paper ranks a data set and drops the highest thousand; here the rule of `cutoff` flags.

Known failures, which are kept:
- The last token has read the prompt and the reply, so that the subject counts: honest answers to
  prompts on the same subjects come near the references.
- A model that refuses nothing has no safety-sensitive layer; the one that is found is chance.
- The layer is found on a few prompts, and neighbours do about as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from gradgate.common.arrays import Floats
from gradgate.data.sample import Sample
from gradgate.errors import ConfigError, ModelError
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.hidden_states import hidden_states
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.anchors import AnchorsConfig, nearer, read_anchors
from gradgate.methods.peers.cutoff import cutoff, detection
from gradgate.methods.peers.judging import loaded_model, scored_tokens
from gradgate.models.loading import LoadedModel
from gradgate.safety.probes import ProbeSet
from gradgate.safety.proxy import refusal_first_tokens
from gradgate.safety.rendering import prompt_ids

SCALES = (0.8, 1.2)
_MAX_PROMPTS = 30
_TOGETHER = 10  # prompts in a batch


class LarfConfig(AnchorsConfig):
    """Method `larf`."""

    layer: int | None = Field(
        None,
        ge=1,
        description="Block behind which rows are compared, from 1; the safety-sensitive one, which "
        "costs two passes of 30 prompts a block, when absent.",
    )


class LarfMethod(Method[LarfConfig]):
    """Like unsafe references and unlike safe ones at the safety-sensitive layer (LARF)."""

    name: ClassVar[str] = "larf"
    question: ClassVar[Question] = "harmful"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = LarfConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: LarfConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        loaded = loaded_model(scores)
        anchors = read_anchors(settings, loaded.tokenizer)
        n_layers = len(blocks(loaded))
        if settings.layer is not None and settings.layer > n_layers:
            raise ConfigError(
                f"detection.larf.layer is {settings.layer}, and the model has {n_layers} layers"
            )
        layer = settings.layer or int(sensitivities(loaded, anchors.probes).argmax()) + 1
        at, tokens = scored_tokens(scores)
        states, unsafe, safe = (
            hidden_states(loaded, some, (layer,), "last")[:, 0]
            for some in (tokens, anchors.harmful, anchors.safe)
        )
        suspicion = np.full(scores.n, np.nan)
        suspicion[at] = nearer(states, unsafe, safe)
        chosen = cutoff(suspicion, settings)

        def reason(i: int) -> str:
            return (
                f"behind layer {layer} similarity to unsafe less that to safe references "
                f"{suspicion[i]:.4f} is above {chosen.value:.4f} ({chosen.rule})"
            )

        summary: dict[str, object] = {
            "layer": layer,
            "n_layers": n_layers,
            "probes_sha256": anchors.probes.fingerprint,
        }
        return detection(suspicion, scores, chosen, reason, summary)


def sensitivities(loaded: LoadedModel, probes: ProbeSet) -> Floats:
    """Of each layer: by how many nats a stronger one makes refusals likelier: (layers,).

    Raises:
        ModelError: The layers are not found, or the model cannot read the probes.
    """
    prompts = prompt_ids(probes.benign[:_MAX_PROMPTS], loaded.tokenizer)
    tokens = torch.tensor(refusal_first_tokens(probes, loaded.tokenizer)).to(loaded.device)
    weaker, stronger = SCALES
    found = []
    for block in blocks(loaded):
        with _scaled(block, stronger):
            high = _refusal_nats(loaded, prompts, tokens)
        with _scaled(block, weaker):
            found.append(high - _refusal_nats(loaded, prompts, tokens))
    return np.array(found)


def blocks(loaded: LoadedModel) -> list[nn.Module]:
    """The blocks of the model, from its input on.

    Raises:
        ModelError: They are not found.
    """
    n_layers = loaded.model.config.get_text_config().num_hidden_layers
    for module in loaded.model.get_decoder().modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return list(module)
    raise ModelError(f"{type(loaded.model).__name__} has no list of {n_layers} blocks")


@contextmanager
def _scaled(block: nn.Module, scale: float) -> Iterator[None]:
    """Let a block add so many times as much to the residual stream."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        before = args[0]
        if isinstance(output, Tensor):
            return before + scale * (output - before)
        return (before + scale * (output[0] - before), *output[1:])

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def _refusal_nats(loaded: LoadedModel, prompts: Sequence[list[int]], tokens: Tensor) -> float:
    """Mean log-probability that the reply begins with one of some tokens, in nats."""
    found = list[Tensor]()
    for start in range(0, len(prompts), _TOGETHER):
        some = list(prompts[start : start + _TOGETHER])
        hidden = padded_forward(loaded, some)
        last = torch.stack([row[len(p) - 1] for row, p in zip(hidden, some, strict=True)])
        logits = loaded.transform(loaded.head(last).float())
        found.append(torch.log_softmax(logits, dim=-1)[:, tokens].logsumexp(dim=-1))
    return float(torch.cat(found).double().mean())
