"""The score of a sample: all signals of one pass of the model."""

import struct
from dataclasses import dataclass
from typing import Literal

Mode = Literal["crop", "full"]
SKETCH_BYTES = 512
# What is known against a probing set, in the order of `Score.safety`.
SAFETY = ("fihs_all", "fihs_first", "fihs_published", "refusal_first")
SAFETY_BYTES = 8 * len(SAFETY)
_SAFETY = struct.Struct(f"<{len(SAFETY)}d")


@dataclass(frozen=True, slots=True)
class Score:
    """All signals of a sample from one pass of the model.

    Attributes:
        entropy_crop: Spectral entropy of the block [:V//8, :d//8] of the gradient, in [0, 1]; high
            is suspicious. None when the status is `failed`, or the gradient is zero there.
        entropy_full: Of all of the gradient; None when the status is `failed`.
        evenness: `gradients.evenness` of the full entropy; None also where there is only one
            singular value.
        n_target_tokens: Supervised positions, T.
        loss: Mean cross-entropy over them, in nats.
        gradient_norm: Frobenius norm of all of the gradient.
        sketch: Direction of the gradient, 256 numbers in little-endian float16
            (`gradgate.gradients.sketch`); None when the status is `failed`.
        token_logp: ln p of each token after those before it, in nats, little-endian float16: NaN
            for the first one and for those behind the last supervised one. None where the loss is.
        status: `scored`, or `failed` with a reason.
        safety: `SAFETY`, in little-endian float64: the inner product with the gradients of three
            scores of safety (`gradients.factors`), high is harmful; and ln of the summed
            probability of the tokens that begin a refusal, where the target begins. None when the
            status is `failed`, or no probing set is in use.
    """

    entropy_crop: float | None
    entropy_full: float | None
    evenness: float | None
    n_target_tokens: int
    loss: float | None
    gradient_norm: float | None
    sketch: bytes | None
    token_logp: bytes | None
    status: str
    reason: str | None
    safety: bytes | None = None

    def against_probes(self) -> dict[str, float]:
        """The values in `safety` by their names; nothing where there is none."""
        if self.safety is None:
            return {}
        return dict(zip(SAFETY, _SAFETY.unpack(self.safety), strict=True))

    def entropy(self, mode: Mode) -> float | None:
        """The one that a mode decides by."""
        return self.entropy_crop if mode == "crop" else self.entropy_full
