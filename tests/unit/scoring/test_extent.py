from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.identity import load_model
from gradgate.scoring.extent import Extent, check_within, extent_of
from helpers import MODEL


def table(path: Path, rows: list[list[int]]) -> Path:
    pq.write_table(pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))}), path)
    return path


def test_the_extent_counts_samples_and_tokens(tmp_path: Path) -> None:
    rows = [[1, 2], [7], [], [3, 3, 3]]
    assert extent_of(table(tmp_path / "rows.parquet", rows)) == Extent(4, 6, 7)
    assert extent_of(table(tmp_path / "none.parquet", [])) == Extent(0, 0, -1)


def test_ids_beyond_the_embedding_are_refused(tmp_path: Path) -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu"))
    last = loaded.model.get_input_embeddings().weight.shape[0] - 1
    check_within(table(tmp_path / "in.parquet", [[0, last]]), loaded)
    with pytest.raises(ModelError, match=rf"token id {last + 1}, .* has {last + 1} rows"):
        check_within(table(tmp_path / "out.parquet", [[0], [last + 1]]), loaded)
