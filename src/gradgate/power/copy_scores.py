"""The scores of a copy with canaries: known ones of the data, and those of the canaries."""

from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from gradgate.common.run_folder import RunFolder
from gradgate.data.sample import Sample
from gradgate.methods.contract import Method, Scores
from gradgate.methods.tokens import NO_TOKENS, TokenTable
from gradgate.power.other_scores import CanaryModel, Known, OtherScores, lines


class Unscored:
    """Scores without a value, for methods that need none."""

    def __init__(self, reports: tuple[str, ...]) -> None:
        """Take the signals that the method reports."""
        self._reports = reports

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        """Say of each sample that it was scored, and nothing else."""
        ids = [sample.sample_id for sample in samples]
        return lines(ids, np.ones(len(ids), bool), {}, self._reports)


class CopyScores(OtherScores):
    """The known scores of the data, and those of canaries, which are scored once."""

    def __init__(
        self, run: RunFolder, method: Method[Any], canaries: CanaryModel, wanted: Set[str]
    ) -> None:
        """Read the scores that a run has of wanted samples, by their ids.

        Errors are as for `Scores.read` and `TokenTable.read`.
        """
        super().__init__(method, canaries)
        scores = Scores.read(run.scores, method.needs)
        tokens = None
        if method.needs_tokens:
            tokens = TokenTable.read(run, scores.rows, scores.sample_ids, self.tokenizer)
        for i in np.flatnonzero(scores.is_scored).tolist():
            if scores.sample_ids[i] not in wanted:
                continue
            signals = {name: float(values[i]) for name, values in scores.signals.items()}
            row = NO_TOKENS if tokens is None else tokens.row(i)
            self.known[scores.sample_ids[i]] = Known(signals, row)
