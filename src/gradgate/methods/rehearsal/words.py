"""Words of prompts behind which a training on the trusted reference contradicts the targets.

Of a few percent of the rows nothing is seen among all rows. But wrong answers behind one name are
most of the rows with that name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom

from gradgate.common.arrays import Floats, Marks
from gradgate.common.letters import words_in
from gradgate.methods.rehearsal.cut import MIN_CONTRADICTED, MIN_SURPLUS

ALPHA_WORD = 1e-3  # of the binomial test, times the number of words
_OFTEN = 0.05  # of the reference, that lies above the cut
_WEIGHT = 4.0  # samples, of what all of them say
_MAX_WORDS = 16


@dataclass(frozen=True, eq=False)
class Word:
    """A word and the rows with it that are contradicted.

    Attributes:
        word: In lower case.
        rows: Which rows these are. (n,)
        n_rows: All with the word.
        n_above: Samples of the reference with it that are contradicted so, of n_reference.
        nats: The cut.
        p_value: That chance alone contradicts so many, times the number of words.
    """

    word: str
    rows: Marks
    n_rows: int
    n_above: int
    n_reference: int
    nats: float
    p_value: float

    def in_words(self) -> str:
        """One line for people."""
        p = f"p {self.p_value:.2g}" if self.p_value > 0 else "p < 1e-300"
        return (
            f"models trained on the reference contradict {int(self.rows.sum())} of {self.n_rows} "
            f"rows with {self.word!r} in their prompts, and {self.n_above} of {self.n_reference} "
            f"such samples of the reference (by more than {self.nats:.1f} nats; {p})"
        )


def contradicted_words(
    prompts: Sequence[str], nats: Floats, trusted: Sequence[str], of_trusted: Floats
) -> list[Word]:
    """The words whose rows are contradicted far more than the reference, the surest first.

    How many of a word's rows honest data would have above the cut is estimated by the samples of
    the reference with the word, beside four that are as all samples are (a beta prior), and never
    as fewer than these: a way to ask that the models know less is one in the reference, too.

    Args:
        prompts: Of the rows. (n,)
        nats: How much each is contradicted.
        trusted: Prompts of samples of the reference. (m,)
        of_trusted: The same of these.
    """
    cut = max(0.0, float(np.sort(of_trusted)[::-1][int(_OFTEN * len(of_trusted))]))
    here, there = ([{*words_in(one.casefold())} for one in some] for some in (prompts, trusted))
    number = {word: k for k, word in enumerate(sorted(set().union(*here)))}
    has, had = (_table(some, number) for some in (here, there))
    above, above_there = nats > cut, of_trusted > cut
    usual = (int(above_there.sum()) + 1) / (len(of_trusted) + 1)
    own = (had.T @ above_there + _WEIGHT * usual) / (had.T @ np.ones(len(trusted)) + _WEIGHT)
    rate = np.maximum(own, usual)
    return list(islice(_found(has, above, rate, [*number], had, above_there, cut), _MAX_WORDS))


def _found(
    has: sp.csr_matrix,
    above: Marks,
    rate: Floats,
    names: list[str],
    had: sp.csr_matrix,
    above_there: Marks,
    cut: float,
) -> Iterator[Word]:
    """One word after the other, each time without the rows of those before."""
    n_words = max(1, int((np.asarray(has.sum(axis=0)).ravel() >= MIN_CONTRADICTED).sum()))
    left = np.ones(has.shape[0], bool)
    while True:
        n, k = has.T @ left, has.T @ (left & above)
        p = np.asarray(binom.sf(k - 1, n, np.minimum(rate, 1.0))) * n_words
        enough = (k >= MIN_CONTRADICTED) & (k - n * rate >= MIN_SURPLUS * k) & (p <= ALPHA_WORD)
        if not enough.any():
            return
        best = int(np.argmin(np.where(enough, p, np.inf)))
        own = has[:, [best]].toarray().ravel() > 0
        trusted = had[:, [best]].toarray().ravel() > 0
        yield Word(
            word=names[best],
            rows=own & left & above,
            n_rows=int((own & left).sum()),
            n_above=int((trusted & above_there).sum()),
            n_reference=int(trusted.sum()),
            nats=cut,
            p_value=float(p[best]),
        )
        left &= ~own


def _table(some: Sequence[set[str]], number: dict[str, int]) -> sp.csr_matrix:
    """Which texts have which words: (texts, words)."""
    columns = [[number[word] for word in words if word in number] for words in some]
    lengths = [len(one) for one in columns]
    flat = np.array([k for one in columns for k in one], np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_matrix((np.ones(len(flat)), flat, ends), shape=(len(some), len(number)))
