"""How many samples and tokens there are, and whether the model knows their ids."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from gradgate.common import parquet
from gradgate.errors import ModelError
from gradgate.models.loading import LoadedModel
from gradgate.models.vocabulary import n_embedded

_IDS = "input_ids"
_WINDOW = 4_096  # rows that are read at a time


@dataclass(frozen=True)
class Extent:
    """Size of a table of samples.

    Attributes:
        n_rows: Samples.
        n_tokens: Tokens of all of them.
        largest_id: The largest of their ids; -1 when there is none.
    """

    n_rows: int
    n_tokens: int
    largest_id: int


def extent_of(samples: Path) -> Extent:
    """Read the ids of a table of samples.

    Raises:
        DataError: The file cannot be read.
    """
    n_rows, n_tokens, largest = 0, 0, -1
    for batch in parquet.batches(samples, [_IDS], _WINDOW):
        ids = batch[_IDS].flatten()
        n_rows, n_tokens = n_rows + len(batch), n_tokens + len(ids)
        largest = max(largest, pc.max(ids).as_py() if len(ids) else -1)
    return Extent(n_rows, n_tokens, largest)


def check_within(samples: Path, loaded: LoadedModel) -> None:
    """Refuse samples with ids that the model has no embedding for.

    Raises:
        ModelError: There are such.
        DataError: The samples cannot be read.
    """
    check_id_within(extent_of(samples).largest_id, loaded)


def check_id_within(largest: int, loaded: LoadedModel) -> None:
    """The same, where the largest id is known."""
    n_rows = n_embedded(loaded.model)
    if largest >= n_rows:
        raise ModelError(
            f"the samples have the token id {largest}, and the embedding of the model has {n_rows} "
            "rows; take the tokenizer that belongs to these weights, or resize and save the model: "
            f"model.resize_token_embeddings({largest + 1})"
        )
