"""Ridge regression on hidden states: what the other samples teach of each."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Marks

_PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # for each sample


@dataclass(frozen=True, eq=False)
class Scale:
    """Makes each of d values of states equally wide, as they are in some of them.

    Attributes:
        mean: Of these. (d,)
        spread: Their deviation; one where there is none. (d,)
    """

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, states: Floats) -> "Scale":
        """Take the states: (k, d)."""
        spread = states.std(axis=0)
        return cls(states.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def on(self, states: Floats) -> Floats:
        """States, also others, with mean zero and deviation one in the first: (m, d)."""
        return (states - self.mean) / self.spread


@dataclass(frozen=True, eq=False)
class Ridge:
    """Values of k samples, regressed on their states.

    Attributes:
        hat: The matrix that smooths values. (k, k)
        rest: What it leaves of them. (k, values)
        error: What all other samples leave of each. (k, values)
    """

    hat: Floats
    rest: Floats
    error: Floats

    @classmethod
    def of(cls, states: Floats, values: Floats) -> "Ridge":
        """Fit; the penalty is that of the smallest error of left-out samples.

        Args:
            states: One vector a sample. (k, d)
            values: Of mean zero. (k, values)
        """
        k, kernel = len(states), Kernel.of(states)
        widths, vectors, fits = kernel.widths, kernel.vectors, []
        for penalty in k * np.array(_PENALTIES):
            hat = (vectors * (widths / (widths + penalty))) @ vectors.T
            rest = values - hat @ values
            fits.append(cls(hat, rest, rest / np.maximum(1e-9, 1 - np.diag(hat))[:, None]))
        return min(fits, key=lambda fit: float((fit.error**2).mean()))


@dataclass(frozen=True, eq=False)
class Kernel:
    """Products of the states of n samples, each of d values made equally wide, with a constant.

    Attributes:
        scale: Of the states.
        own: The states, made equally wide. (n, d)
        widths: Eigenvalues of the products. (n,)
        vectors: Their eigenvectors. (n, n)
    """

    scale: Scale
    own: Floats
    widths: Floats
    vectors: Floats

    @classmethod
    def of(cls, states: Floats) -> "Kernel":
        """Take the states: (n, d)."""
        scale = Scale.of(states)
        own = scale.on(states)
        return cls(scale, own, *np.linalg.eigh(own @ own.T / states.shape[1] + 1.0))

    def beside(self, states: Floats) -> Floats:
        """Products of other states and these: (m, d) -> (m, n)."""
        return np.asarray(self.scale.on(states) @ self.own.T / self.own.shape[1] + 1.0)


@dataclass(frozen=True, eq=False)
class Lessons:
    """Values of n samples, regressed on their states, with any of these left out.

    Attributes:
        kernel: Of the states.
        mean: Of the values. (v,)
        inverse: Of the products with the penalty. (n, n)
        weights: Of the samples. (n, v)
    """

    kernel: Kernel
    mean: Floats
    inverse: Floats
    weights: Floats

    @classmethod
    def of(cls, kernel: Kernel, values: Floats) -> "Lessons":
        """Fit; the penalty is that of the smallest error of left-out samples.

        Args:
            kernel: Of n samples.
            values: (n, v)
        """
        widths, vectors, mean = kernel.widths, kernel.vectors, values.mean(axis=0)
        turned = vectors.T @ (values - mean)

        def error(penalty: float) -> float:
            shrunk = vectors / (widths + penalty)
            left = (shrunk * vectors).sum(axis=1)
            return float(((shrunk @ turned / left[:, None]) ** 2).mean())

        penalty = min(len(values) * np.array(_PENALTIES), key=error)
        inverse = (vectors / (widths + penalty)) @ vectors.T
        return cls(kernel, mean, inverse, inverse @ (values - mean))

    def without(self, out: Marks, states: Floats, values: Floats) -> tuple[Floats, Floats]:
        """Errors where some samples teach nothing.

        Those that are left out are taken out of the inverse by its blocks, so that nothing is
        fitted anew.

        Args:
            out: These samples. (n,)
            states: Of m others. (m, d)
            values: Of theirs. (m, v)

        Returns:
            What the samples that are not out leave of the values of the m others: (m, v); and of
            their own, all but itself of each: (those that are not out, v).
        """
        within = self.inverse[np.ix_(out, out)]
        gone = np.linalg.solve(within, self.inverse[np.ix_(out, ~out)])
        weights = self.weights[~out] - gone.T @ self.weights[out]
        left = np.diag(self.inverse)[~out] - (self.inverse[np.ix_(~out, out)] * gone.T).sum(axis=1)
        told = self.kernel.beside(states)[:, ~out] @ weights
        return values - self.mean - told, weights / left[:, None]


def scaled(states: Floats) -> Floats:
    """Each of d values with mean zero and deviation one: (k, d)."""
    return Scale.of(states).on(states)
