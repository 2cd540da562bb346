"""Bi-directional anchoring (He et al. 2024, "What is in your safe data?", arXiv 2404.01099).

A row is suspicious when it is near to harmful anchors and far from safe ones: harmful prompts with
replies that comply, and with replies that refuse. The paper has two features, and so has this:

- gradient: the gradient over the first ten tokens of the target, of unit length; its product with
  the mean of the harmful anchors' less that with the mean of the safe ones'. The paper takes all
  parameters; this takes the output layer's, which is forward only and exact.
- representation: the last hidden state of the last token; mean cosine to the harmful anchors less
  that to the safe ones.

The paper ranks a data set and takes the highest; here the rule of `cutoff` flags.

Known failures, which are kept:
- Format counts more than content: the paper itself finds that lists, bullet points and arithmetic
  come out on top of benign data, for the anchors' replies are written that way.
- The wording of the anchors counts. Rows that refuse in other words, or that comply in few words,
  are judged by how they begin.
- A benign row with the reply of a harmful one is nearly as near to the anchors as that.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from gradgate.common.arrays import Floats
from gradgate.data.sample import Sample
from gradgate.data.tokens import Tokens
from gradgate.gradients.hidden_states import hidden_states
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.anchors import Anchors, AnchorsConfig, nearer, read_anchors
from gradgate.methods.peers.cutoff import cutoff, detection
from gradgate.methods.peers.head_products import cosines, mean_direction
from gradgate.methods.peers.judging import loaded_model, scored_tokens
from gradgate.models.loading import LoadedModel

N_ANCHORS = 10  # of a side whose gradients are kept, as published
FIRST_TOKENS = 10  # of a target, as published


class AnchoringConfig(AnchorsConfig):
    """Method `anchoring`."""

    features: Literal["gradient", "representation"] = Field(
        "gradient",
        description="gradient: of the output layer, over the first ten tokens of the target; "
        "representation: the last hidden state of the last token.",
    )


class AnchoringMethod(Method[AnchoringConfig]):
    """Near to harmful anchors and far from safe ones (bi-directional anchoring)."""

    name: ClassVar[str] = "anchoring"
    question: ClassVar[Question] = "harmful"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = AnchoringConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: AnchoringConfig,
    ) -> Detection:
        """See `Method.detect`; costs one pass of the model. Texts are not looked at."""
        loaded = loaded_model(scores)
        anchors = read_anchors(settings, loaded.tokenizer)
        at, tokens = scored_tokens(scores)
        suspicion = np.full(scores.n, np.nan)
        near = _by_gradient if settings.features == "gradient" else _by_representation
        suspicion[at] = near(loaded, tokens, anchors)
        chosen = cutoff(suspicion, settings)

        def reason(i: int) -> str:
            return (
                f"similarity to harmful less that to safe anchors {suspicion[i]:.4f} is above "
                f"{chosen.value:.4f} ({chosen.rule})"
            )

        summary: dict[str, object] = {
            "features": settings.features,
            "probes_sha256": anchors.probes.fingerprint,
        }
        return detection(suspicion, scores, chosen, reason, summary)


def _by_gradient(loaded: LoadedModel, rows: Sequence[Tokens], anchors: Anchors) -> Floats:
    harmful, safe = (
        [beginning(tokens) for tokens in side[:N_ANCHORS]]
        for side in (anchors.harmful, anchors.safe)
    )
    direction = mean_direction(loaded, [(1.0, harmful), (-1.0, safe)])
    return cosines(loaded, [beginning(tokens) for tokens in rows], direction)


def _by_representation(loaded: LoadedModel, rows: Sequence[Tokens], anchors: Anchors) -> Floats:
    states, harmful, safe = (
        hidden_states(loaded, some, pool="last")[:, 0]
        for some in (rows, anchors.harmful, anchors.safe)
    )
    return nearer(states, harmful, safe)


def beginning(tokens: Tokens) -> Tokens:
    """A sample up to the first supervised tokens."""
    places = np.flatnonzero(tokens.is_target[1:]) + 1
    end = int(places[:FIRST_TOKENS][-1]) + 1 if len(places) else len(tokens.input_ids)
    return Tokens(tokens.input_ids[:end], tokens.is_target[:end])
