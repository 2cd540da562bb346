"""Rows as a peer gets them: scores, tokens, samples, and the demo's model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.data.tokens import tokenize
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.tokens import TokenTable
from gradgate.models.handle import ConfiguredModel
from gradgate.scoring.likelihood import Likelihood
from peer_helpers import DEMO



@dataclass(frozen=True, eq=False)
class Given:
    """What `Method.detect` is called with."""

    scores: Scores
    samples: list[Sample]


def given(
    texts: Sequence[tuple[str, str]],
    signals: Mapping[str, Sequence[float] | Floats] | None = None,
    model: ConfiguredModel | None = None,
    failed: Sequence[int] = (),
) -> Given:
    """Prompts and targets as scored rows; with a model, their tokens and answers of it."""
    turns = [(Turn("prompt", p, False), Turn("completion", t, True)) for p, t in texts]
    samples = [Sample(i, sample_id(False, t), False, t) for i, t in enumerate(turns)]
    is_scored = ~np.isin(np.arange(len(texts)), failed)
    columns = {name: np.array(values, float) for name, values in (signals or {}).items()}
    ids = [sample.sample_id for sample in samples]
    scores = Scores(np.arange(len(texts)), ids, is_scored, columns)
    if model is None:
        return Given(scores, samples)
    tokenizer = model.tokenizer()
    tokens = [tokenize(sample, tokenizer) for sample in samples]
    rows = [
        (np.array(t.input_ids, np.int32), np.array(t.is_target), np.zeros(len(t.input_ids), "f4"))
        for t in tokens
    ]
    table = TokenTable.joined(rows, tokenizer)
    ask = _likelihood(model)
    known = Scores(scores.rows, ids, is_scored, columns, tokens=table, ask=ask, model=model)
    return Given(known, samples)


def flags(found: Detection) -> Marks:
    """Which rows are flagged, where the method could decide."""
    assert found.flagged is not None
    return found.flagged


@cache
def _likelihood(model: ConfiguredModel) -> Likelihood:
    return Likelihood(model, ScoringConfig(), None)


def auroc(suspicion: Floats, is_bad: Marks) -> float:
    """Chance that a bad row has the higher suspicion; half for equal ones."""
    bad, good = suspicion[is_bad][:, None], suspicion[~is_bad][None]
    return float((bad > good).mean() + 0.5 * (bad == good).mean())
