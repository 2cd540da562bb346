"""The transform of the head's output before the softmax."""

from dataclasses import dataclass

from torch import Tensor, tanh


@dataclass(frozen=True)
class LogitTransform:
    """The transform of the head's output z before the softmax: cap * tanh(scale * z / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Logits, of the shape of z."""
        scaled = z * self.scale if self.scale != 1.0 else z
        return scaled if self.cap is None else self.cap * tanh(scaled / self.cap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """D logits / d z, over `scale`, from the logits."""
        return 1.0 if self.cap is None else 1.0 - (logits / self.cap) ** 2
