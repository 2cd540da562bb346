"""Method `graceful` (GraCeFul; Wu et al., COLING 2025, arXiv 2412.02454).

Each sample's gradient of the output layer, by a two-dimensional cosine transform, cropped to the
lowest eighth of either side; PCA to 32 dimensions, each scaled to unit variance (so does the
published code, which the paper does not say); agglomerative clustering into two by cosine and
average linkage. The smaller cluster is poison.

Known failures: it always finds two clusters, so that clean data always loses the smaller one;
poison of more than half of the rows is kept, and the honest rows are flagged. With tied embeddings
the published code adds the gradient of the embeddings; here it is that of the head alone.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import IncrementalPCA
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils import gen_batches

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.common.scratch import on_disk
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.data.tokens import Tokens
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.frequencies import low_frequencies, n_low
from gradgate.methods.peers.judging import judged, loaded_model, scored_tokens, undecided
from gradgate.models.loading import LoadedModel

MAX_ROWS = 20_000  # whose distances, of all pairs, take 1.6 GB
_BLOCK_BYTES = 2**28  # of features that are in memory at a time
_NOTE = "it always finds two clusters: clean data loses the smaller one"


class GracefulConfig(Section):
    """Method `graceful`."""

    n_components: int = Field(32, ge=2, description="Principal components; 32 as published.")


class GracefulMethod(Method[GracefulConfig]):
    """The smaller of two clusters of gradients in the frequency space (arXiv 2412.02454)."""

    name: ClassVar[str] = "graceful"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = GracefulConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GracefulConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at.

        Raises:
            StoreError: The gradients' frequencies do not fit on the disk.
        """
        at, tokens = scored_tokens(scores)
        if not settings.n_components <= len(at) <= MAX_ROWS:
            return undecided(
                scores,
                f"{len(at)} rows have a score; {settings.n_components} (n_components) to "
                f"{MAX_ROWS} rows can be clustered",
            )
        embedded, is_finite = _embedded(loaded_model(scores), tokens, settings.n_components)
        at = at[is_finite]
        if len(at) < settings.n_components or not np.abs(embedded).sum(axis=1).all():
            return undecided(scores, "too few rows have a gradient that differs from the mean")
        is_poison, sizes = _smaller_cluster(embedded)
        reason = f"its gradient is in the smaller of two clusters ({is_poison.sum()} rows)"
        return judged(
            scores,
            at,
            _margin(embedded, is_poison),
            is_poison,
            [reason] * len(at),
            {"cluster_sizes": sizes},
            [_NOTE],
        )


def _embedded(loaded: LoadedModel, tokens: list[Tokens], n_components: int) -> tuple[Floats, Marks]:
    """Scaled principal components of the finite gradients, (m, r), and which are: (n,)."""
    of_vocabulary, of_hidden = n_low(loaded)
    size = of_vocabulary * of_hidden
    features = on_disk((len(tokens), size), np.float32)
    is_finite = low_frequencies(loaded, tokens, features)
    rows = np.flatnonzero(is_finite)
    if len(rows) < n_components:
        return np.empty((0, n_components)), is_finite
    found = principal_components(features, rows, min(n_components, size))
    return np.asarray(StandardScaler().fit_transform(found), np.float64), is_finite


def principal_components(
    features: npt.NDArray[np.float32], rows: Ints, n_components: int
) -> Floats:
    """Of some rows of a table that need not fit into memory: (rows, r)."""
    block = max(n_components, _BLOCK_BYTES // (4 * features.shape[1]))
    batches = list(gen_batches(len(rows), block, min_batch_size=n_components))
    pca = IncrementalPCA(n_components)
    with np.errstate(invalid="ignore"):  # equal rows have no variance that could be explained
        for batch in batches:
            pca.partial_fit(features[rows[batch]])
    return np.concatenate([pca.transform(features[rows[batch]]) for batch in batches])


def _smaller_cluster(embedded: Floats) -> tuple[Marks, list[int]]:
    """Which rows are not in the larger cluster, and the sizes of both."""
    clustering = AgglomerativeClustering(n_clusters=2, metric="cosine", linkage="average")
    labels = clustering.fit_predict(embedded)
    sizes = np.bincount(labels, minlength=2)
    return labels != sizes.argmax(), sizes.tolist()


def _margin(embedded: Floats, is_poison: Marks) -> Floats:
    """Mean cosine distance to the larger cluster minus that to the smaller one, in [-2, 2]."""
    units = normalize(embedded)
    return np.asarray(units @ (units[is_poison].mean(axis=0) - units[~is_poison].mean(axis=0)))
