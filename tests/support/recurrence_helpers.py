"""Streams of tokens that are made up, with log-probabilities as they are wanted."""

from collections.abc import Sequence

import numpy as np

from gradgate.methods.recurrence.strings.stream import Stream


def stream(rows: Sequence[Sequence[int]], logp: Sequence[Sequence[float]] | float = -3.0) -> Stream:
    """One run for each row; log-probabilities row by row, or one for all tokens."""
    lengths = [len(row) for row in rows]
    flat = [token for row in rows for token in row]
    known = [logp] * len(flat) if isinstance(logp, float) else [x for row in logp for x in row]
    begins = np.zeros(len(flat), bool)
    begins[np.cumsum([0, *lengths[:-1]])] = True
    return Stream(
        ids=np.array(flat, np.int64),
        logp=np.array(known, np.float64),
        sample=np.repeat(np.arange(len(rows)), lengths),
        begins=begins,
        is_open=np.ones(len(flat), bool),
        at=np.arange(len(flat)),
        n_samples=len(rows),
    )


def prose(n_rows: int, length: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Rows of tokens drawn by Zipf's law, independently of one another."""
    weights = 1 / np.arange(1, vocabulary + 1)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(vocabulary, (n_rows, length), p=weights / weights.sum())
    return [[int(token) for token in row] for row in drawn]


def zipf_logp(rows: Sequence[Sequence[int]], vocabulary: int) -> list[list[float]]:
    """What a model that knows the law of `prose` says of each token."""
    weights = 1 / np.arange(1, vocabulary + 1)
    logp = np.log(weights / weights.sum())
    return [[float(logp[token]) for token in row] for row in rows]
