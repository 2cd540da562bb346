"""The score table: one line for each sample."""

from dataclasses import dataclass

import pyarrow as pa

SCORE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("spectral_entropy", pa.float64()),
        pa.field("n_target_tokens", pa.int32(), nullable=False),
        pa.field("loss", pa.float64()),
        pa.field("gradient_norm", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Score:
    """One sample's line of the score table.

    Attributes:
        spectral_entropy: In [0, 1]; high is suspicious. None when the status is `failed`.
        n_target_tokens: Supervised positions, T.
        loss: Mean cross-entropy over them, in nats.
        gradient_norm: Frobenius norm of the scored block of the gradient.
        status: `scored`, or `failed` with a reason.
    """

    spectral_entropy: float | None
    n_target_tokens: int
    loss: float | None
    gradient_norm: float | None
    status: str
    reason: str | None
