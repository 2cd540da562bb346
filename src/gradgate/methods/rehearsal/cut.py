"""Whether rows are contradicted more often than samples of a trusted reference, and which."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from gradgate.common.arrays import Marks
from gradgate.methods.rehearsal.predicting import Contradicted

MIN_CONTRADICTED = 8  # rows
MIN_SURPLUS = 0.5  # of them that are more than the reference makes expect
ALPHA_CUT = 0.01  # of the exact test, over all that are made
_ABOVE = (0, 1, 2, 4, 8, 16)  # samples of the reference above a cut


@dataclass(frozen=True, eq=False)
class Cut:
    """Rows that are contradicted by more than some nats, or where one token stands for another.

    Attributes:
        nats: Rows above are contradicted; never negative, for another token has to be likelier.
        tokens: The expected token and the one in its place; None for any.
        rows: Which rows these are. (n,)
        n_reference_above: Samples of the reference that are contradicted so, of n_reference.
        p_value: One-sided exact test (Fisher), times the number of tests (Bonferroni).
        counts: Whether these are too many.
    """

    nats: float
    tokens: tuple[int, int] | None
    rows: Marks
    n_reference_above: int
    n_reference: int
    p_value: float
    counts: bool

    def in_words(self, text: Callable[[list[int]], str]) -> str:
        """One line for people.

        Args:
            text: Of tokens.
        """
        p = f"p {self.p_value:.2g}" if self.p_value > 0 else "p < 1e-300"
        which = f"by more than {self.nats:.1f} nats"
        if self.tokens is not None:
            expected, said = (text([token]) for token in self.tokens)
            which = f"where they expect {expected!r} and find {said!r}"
        return (
            f"models trained on the reference contradict {int(self.rows.sum())} of "
            f"{len(self.rows)} rows, and {self.n_reference_above} of {self.n_reference} samples of "
            f"the reference that they have not seen either ({which}; {p})"
        )


def cuts(reference: Contradicted, rows: Contradicted) -> list[Cut]:
    """The best cut by nats and the pairs of tokens that count, or else the cut of the smallest p.

    Were the rows drawn like the reference, then both would be as often above any cut, whatever the
    model makes of them: either is predicted by a model that has not seen it (Vovk, Gammerman and
    Shafer 2005, "Algorithmic learning in a random world", exchangeability). Cuts are chosen by the
    reference and by both together, so that this holds for all of them.

    Args:
        reference: What is said of its samples. (m,), at least one
        rows: What is said of the rows. (n,), at least one
    """
    falling = np.sort(reference.nats)[::-1]
    places = sorted({max(0.0, float(falling[k])) for k in _ABOVE if k < len(falling)})
    pairs = (*_pairs(reference), *_pairs(rows))
    often = [pair for pair, n in Counter(pairs).items() if pair and n >= MIN_CONTRADICTED]
    n_tests = len(places) + len(often)
    found = [_tested(nats, None, reference, rows, n_tests) for nats in places]
    alike = [_tested(0.0, pair, reference, rows, n_tests) for pair in often]
    counting = [one for one in found if one.counts]
    best = [max(counting, key=_worth)] if counting else []
    best += [one for one in alike if one.counts]
    return best or [min(found, key=lambda one: (one.p_value, -one.nats))]


def _worth(one: Cut) -> float:
    """Rows that are caught beyond the honest ones that are lost, by what the reference says."""
    n_above = int(one.rows.sum())
    return n_above - 2 * len(one.rows) * (one.n_reference_above + 1) / (one.n_reference + 1)


def _pairs(found: Contradicted) -> list[tuple[int, int] | None]:
    """The expected token of each sample and the one in its place; None where none is likelier."""
    both = zip(found.token.tolist(), found.said.tolist(), strict=True)
    return [
        pair if nats > 0 else None for pair, nats in zip(both, found.nats.tolist(), strict=True)
    ]


def _above(found: Contradicted, nats: float, tokens: tuple[int, int] | None) -> Marks:
    marks = found.nats > nats
    if tokens is not None:
        marks &= (found.token == tokens[0]) & (found.said == tokens[1])
    return marks


def _tested(
    nats: float,
    tokens: tuple[int, int] | None,
    reference: Contradicted,
    rows: Contradicted,
    n_tests: int,
) -> Cut:
    is_above = _above(rows, nats, tokens)
    n, m = len(rows.nats), len(reference.nats)
    above, expected = int(is_above.sum()), int(_above(reference, nats, tokens).sum())
    table = np.array([[above, n - above], [expected, m - expected]])
    p_value = min(1.0, float(fisher_exact(table, alternative="greater")[1]) * n_tests)
    surplus = 1 - (expected + 1) / (m + 1) * n / max(1, above)
    counts = above >= MIN_CONTRADICTED and surplus >= MIN_SURPLUS and p_value <= ALPHA_CUT
    return Cut(nats, tokens, is_above, expected, m, p_value, counts)
