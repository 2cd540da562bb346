"""What the gate can see in this data set: the outcome of planted canaries."""

from dataclasses import dataclass

from pydantic import ConfigDict


@dataclass(frozen=True)
class Power:
    """What became of the canaries of one attack.

    Attributes:
        n_planted: Samples that the attack was planted in.
        n_detected: Those of them that were flagged or in doubt.
        rate: n_detected / n_planted.
        interval: 95 % of the rate (Clopper-Pearson).
        smallest_rows: Smallest number of poisoned rows from which on this attack was found in this
            data; None: the gate is blind to it.
        smallest_fraction: The same as a part of the rows.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    attack: str
    n_planted: int
    n_detected: int
    rate: float
    interval: tuple[float, float]
    smallest_rows: int | None
    smallest_fraction: float | None

    @property
    def shows_from(self) -> str:
        """In words; in rows first, since a number of them is enough in data of any size."""
        if self.smallest_rows is None or self.smallest_fraction is None:
            return f"not up to {self.n_planted:,} rows"
        return f"{self.smallest_rows:,} rows ({self.smallest_fraction:.2%})"
