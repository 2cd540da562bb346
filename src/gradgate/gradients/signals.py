"""The signals of a sample: what is computed of it, in which version, and how it is encoded.

A new signal is a new line of `SIGNALS` and a new field of `gradients.score.Score`. What is stored
of the other signals stays valid; samples that lack the new one are scored again.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Width = int | Literal["per_token"]


@dataclass(frozen=True)
class Signal:
    """One value, or one vector, that is known of a scored sample.

    Attributes:
        name: The field of `Score`.
        number: Stands for the signal in what is stored, for ever: no other may have it. 1 to 255.
        version: Of its computation; raised by a change of the encoding, or of any value beyond
            rounding. 0 to 255.
        width: Numbers of a vector of little-endian floats, kept as bytes, where `per_token` is
            one for each token of the sample; None for one float64.
        may_lack: Whether it may be undefined for a scored sample.
        number_bytes: Of each number of a vector: 2 for float16, 8 for float64.
        of_probes: Whether it is only computed against a probing set.
    """

    name: str
    number: int
    version: int
    width: Width | None = None
    may_lack: bool = False
    number_bytes: int = 2
    of_probes: bool = False

    @cached_property
    def id(self) -> tuple[int, int]:
        """Number and version."""
        return self.number, self.version

    def sizes(self, n_target_tokens: int) -> range:
        """How many bytes a value may have.

        Where there is one number a token, there are more tokens than supervised ones.
        """
        if self.width == "per_token":
            return range(2 * (n_target_tokens + 1), 2**32, 2)
        n_bytes = 8 if self.width is None else self.number_bytes * self.width
        return range(n_bytes, n_bytes + 1)


SIGNALS = (
    Signal("entropy_crop", number=1, version=2, may_lack=True),
    Signal("entropy_full", number=2, version=2),
    Signal("evenness", number=3, version=2, may_lack=True),
    Signal("loss", number=4, version=2),
    Signal("gradient_norm", number=5, version=2),
    Signal("sketch", number=6, version=2, width=256),
    Signal("token_logp", number=7, version=1, width="per_token"),
    Signal("safety", number=8, version=1, width=4, number_bytes=8, of_probes=True),
)
