"""What the gate can see in this data set: the outcome of planted canaries."""

from dataclasses import dataclass

from pydantic import ConfigDict


@dataclass(frozen=True)
class Power:
    """What became of the canaries of one attack.

    Attributes:
        n_planted: Samples that the attack was planted in.
        n_detected: Those of them that were flagged.
        rate: n_detected / n_planted.
        interval: 95 % of the rate (Clopper-Pearson).
        smallest_fraction: Smallest poison fraction of this attack that was found in this data;
            None: the gate is blind to it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    attack: str
    n_planted: int
    n_detected: int
    rate: float
    interval: tuple[float, float]
    smallest_fraction: float | None
