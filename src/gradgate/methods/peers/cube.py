"""Method `cube` (CUBE; Cui et al., NeurIPS 2022, arXiv 2206.08514).

The model is trained on the data for an epoch; each sample's last hidden state goes through PCA to
32 dimensions, UMAP to two (100 neighbours, no least distance), is scaled, and is clustered by
HDBSCAN. All but the largest cluster are poison. The paper does that for each class of a classifier;
data for generation are one class here, as in the port to generative models by the authors of
GraCeFul, from which training and constants are taken.

Known failures: honest data of several kinds have several clusters, of which all but one are
flagged; so are the rows that HDBSCAN calls noise, unless they are the most. Poison of fewer rows
than `min_samples` is found only as noise. It needs more rows than that, and where it finds no
cluster, which the published program passes, it is undecided. With few neighbours, rounding decides
which small clusters there are, so that another processor may flag other honest rows.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from gradgate.common.arrays import Floats, Marks
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.errors import ConfigError
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.judging import judged, too_few, undecided
from gradgate.methods.peers.training import TrainingConfig, trained_states

_NOTE = "honest data of several kinds lose all clusters but the largest"


class CubeConfig(Section):
    """Method `cube`."""

    training: TrainingConfig = TrainingConfig()
    n_components: int = Field(32, ge=2, description="Principal components.")
    n_neighbors: int = Field(100, ge=2, description="Of UMAP.")
    min_samples: int = Field(100, ge=1, description="Of HDBSCAN: neighbours of a dense point.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of PCA and UMAP.")


class CubeMethod(Method[CubeConfig]):
    """All but the largest cluster of hidden states after an epoch of training."""

    name: ClassVar[str] = "cube"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = CubeConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: CubeConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at.

        Raises:
            ConfigError: umap-learn is not installed.
            ModelError: The model cannot be loaded or trained.
        """
        umap = _umap()
        least = max(settings.min_samples, settings.n_components) + 1
        at, states = trained_states(scores, settings.training, least, pool="last")
        if len(at) < least:
            return undecided(scores, too_few(len(at), least))
        plane = _plane(umap, states, settings)
        is_poison, suspicion, sizes = _outside_largest(plane, settings)
        if set(sizes) == {"noise"}:
            return undecided(scores, "there is no cluster: every row is noise to HDBSCAN")
        reason = f"its hidden state is outside the largest cluster ({(~is_poison).sum()} rows)"
        return judged(
            scores, at, suspicion, is_poison, [reason] * len(at), {"cluster_sizes": sizes}, [_NOTE]
        )


def _umap() -> Any:
    try:
        return import_module("umap")
    except ImportError as error:
        raise ConfigError(
            "method cube needs umap-learn, which is not installed; install gradgate[peers], or "
            "choose another method"
        ) from error


def _plane(umap: Any, states: Floats, settings: CubeConfig) -> Floats:
    """Hidden states in a plane: (m, d) -> (m, 2)."""
    n_components = min(settings.n_components, states.shape[1])
    reduced = PCA(n_components, svd_solver="randomized", random_state=settings.seed)
    layout = umap.UMAP(
        n_neighbors=min(settings.n_neighbors, len(states) - 1),
        min_dist=0.0,
        n_components=2,
        random_state=settings.seed,
        transform_seed=settings.seed,
        n_jobs=1,  # what a seed asks for anyway
    )
    n_threads = torch.get_num_threads()
    plane = layout.fit_transform(reduced.fit_transform(states))
    torch.set_num_threads(n_threads)  # numba lets OpenMP, and with it torch, use all cores
    return np.asarray(StandardScaler().fit_transform(plane), np.float64)


def _outside_largest(plane: Floats, settings: CubeConfig) -> tuple[Marks, Floats, dict[str, int]]:
    """Which rows are outside the largest cluster, how surely in [0, 2], and the clusters' sizes."""
    # hdbscan, which CUBE uses, does not count the point itself; scikit-learn does.
    clustering = HDBSCAN(min_cluster_size=5, min_samples=settings.min_samples + 1, copy=True)
    labels = clustering.fit_predict(plane)
    names, counts = np.unique(labels, return_counts=True)
    is_poison = labels != names[counts.argmax()]
    surely = np.where(is_poison, 1 + clustering.probabilities_, 1 - clustering.probabilities_)
    sizes = {
        "noise" if name < 0 else str(name): int(count)
        for name, count in zip(names.tolist(), counts, strict=True)
    }
    return is_poison, surely, sizes
