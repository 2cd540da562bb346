"""Method `spectral_signatures` (Tran, Li and Madry, NeurIPS 2018, arXiv 1811.00636).

The model is trained on the data; of each sample the last layer's representation is taken (here the
mean over its target tokens), less the mean of all. A row's score is the square of its component in
the direction of the top singular vector. The 1.5 * epsilon * n rows of the highest score are
removed, epsilon being an upper bound on the poisoned fraction that the user has to know. The paper
does that for each class of a classifier; data for generation are one class here.

Known failures: it always flags the same number of rows, so that clean data loses 1.5 epsilon of
them; one direction is looked at, and where honest data vary more in it than poison does, honest
rows are flagged.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from pydantic import Field

from gradgate.common.arrays import Floats
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.judging import MIN_ROWS, highest, judged, too_few, undecided
from gradgate.methods.peers.training import TrainingConfig, trained_states

REMOVED = 1.5  # times the expected number of poisoned rows
_NOTE = "it always flags 1.5 times the expected fraction of poison, also of clean data"


class SpectralSignaturesConfig(Section):
    """Method `spectral_signatures`."""

    expected_poison: float = Field(
        0.1, gt=0, le=0.5, description="Upper bound on the poisoned fraction; 0.05-0.1 published."
    )
    training: TrainingConfig = TrainingConfig()


class SpectralSignaturesMethod(Method[SpectralSignaturesConfig]):
    """The rows that stand out along the top singular vector of the hidden states."""

    name: ClassVar[str] = "spectral_signatures"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = SpectralSignaturesConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: SpectralSignaturesConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        at, states = trained_states(scores, settings.training, MIN_ROWS)
        if len(at) < MIN_ROWS:
            return undecided(scores, too_few(len(at), MIN_ROWS))
        outlying = outlier_scores(states)
        n_removed = round(REMOVED * settings.expected_poison * len(at))
        is_poison = highest(outlying, n_removed)
        reasons = [
            f"outlier score {value:.4g}, among the {n_removed} highest" for value in outlying
        ]
        summary: dict[str, object] = {"n_removed": n_removed}
        return judged(scores, at, outlying, is_poison, reasons, summary, [_NOTE])


def outlier_scores(states: Floats) -> Floats:
    """Squared components in the direction of the top right singular vector: (m, d) -> (m,)."""
    centred = states - states.mean(axis=0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    return np.asarray((centred @ right[0]) ** 2)
