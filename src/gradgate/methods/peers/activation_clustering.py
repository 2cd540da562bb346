"""Method `activation_clustering` (Chen et al., SafeAI 2019, arXiv 1811.03728).

The model is trained on the data; of each sample the last layer's activations are taken (here the
mean over its target tokens), reduced to ten independent components, and divided by 2-means. The
smaller cluster is poison (the paper's comparison of sizes). The paper does that for each class of
a classifier; data for generation are one class here. Its other analysis, to train without a cluster
and see how that is classified, has no counterpart without classes.

Known failures: it always finds two clusters, so that clean data always loses the smaller one, often
a third or more; poison of more than half of the rows is kept. How well the clusters are separated
(silhouette; the paper takes 0.10 to 0.15 and more for a sign of poison) is told and decides
nothing.
"""

import warnings
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from pydantic import Field
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

from gradgate.common.arrays import Floats, Marks
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.judging import MIN_ROWS, judged, too_few, undecided
from gradgate.methods.peers.training import TrainingConfig, trained_states

_SILHOUETTE_ROWS = 2_000  # drawn for the silhouette, which takes all pairs
_NOTE = "it always finds two clusters: clean data loses the smaller one"


class ActivationClusteringConfig(Section):
    """Method `activation_clustering`."""

    training: TrainingConfig = TrainingConfig()
    n_components: int = Field(10, ge=1, le=MIN_ROWS - 1, description="Independent components.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of ICA, 2-means and silhouette.")


class ActivationClusteringMethod(Method[ActivationClusteringConfig]):
    """The smaller of two clusters of activations."""

    name: ClassVar[str] = "activation_clustering"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = ActivationClusteringConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: ActivationClusteringConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        at, states = trained_states(scores, settings.training, MIN_ROWS)
        if len(at) < MIN_ROWS:
            return undecided(scores, too_few(len(at), MIN_ROWS))
        if np.allclose(states, states[0]):
            return undecided(scores, "all rows have the same activations")
        components = independent_components(states, settings)
        is_poison, margin = smaller_cluster(components, settings.seed)
        sizes = [int((~is_poison).sum()), int(is_poison.sum())]
        separation = silhouette_score(
            components,
            is_poison,
            sample_size=min(len(at), _SILHOUETTE_ROWS),
            random_state=settings.seed,
        )
        return judged(
            scores,
            at,
            margin,
            is_poison,
            [f"its activations are in the smaller of two clusters ({sizes[1]} rows)"] * len(at),
            {"cluster_sizes": sizes, "silhouette": float(separation)},
            [_NOTE],
        )


def independent_components(states: Floats, settings: ActivationClusteringConfig) -> Floats:
    """Of unit variance: (m, d) -> (m, r)."""
    n_components = min(settings.n_components, states.shape[1])
    ica = FastICA(n_components, whiten="unit-variance", max_iter=1_000, random_state=settings.seed)
    with warnings.catch_warnings():
        # Components that are not quite independent are still an orthogonal basis of the same space.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(ica.fit_transform(states))


def smaller_cluster(components: Floats, seed: int) -> tuple[Marks, Floats]:
    """Which rows are in the smaller of two clusters, and how much nearer they are to its centre."""
    means = KMeans(n_clusters=2, n_init=10, random_state=seed)
    distances = means.fit_transform(components)  # (m, 2)
    larger = int(np.bincount(means.labels_, minlength=2).argmax())
    return means.labels_ != larger, distances[:, larger] - distances[:, 1 - larger]
