"""The score table while it is made: on disk, without what needs the sketches of all rows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.parquet import batches
from gradgate.common.run_folder import SCORE_SCHEMA, is_scored
from gradgate.gradients.score import SAFETY, SKETCH_BYTES, Mode, Score
from gradgate.scoring.recurrence import gradient_recurrence

_RECURRENCE = SCORE_SCHEMA.get_field_index("gradient_recurrence")
_LINES = SCORE_SCHEMA.remove(_RECURRENCE)
_TOKEN_LOGP = _LINES.get_field_index("token_logp")
_BLOCK_ROWS = 8_192
_NO_SKETCH = bytes(SKETCH_BYTES)


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the table says of a row besides its score, and by what that is known to be its own.

    Attributes:
        n_tokens: Tokens of its sample.
        key: Digest of its tokens (`content_digest`).
    """

    row: int
    sample_id: str
    n_tokens: int
    key: bytes


class Draft:
    """Lines of the table, and beside them the sketches of their samples.

    Attributes:
        n_failed: Lines without a score.
    """

    def __init__(self, folder: Path, mode: Mode) -> None:
        """Make its files in `folder`.

        Args:
            folder: What is there of an earlier draft is overwritten.
            mode: Which entropy decides.
        """
        self.n_failed = 0
        self._mode = mode
        self._lines_path, self._sketches_path = folder / "lines.parquet", folder / "sketches.f2"
        self._digests = [np.empty((0, 2), dtype=np.uint64)]
        self._is_scored = [np.empty(0, dtype=bool)]

    def __enter__(self) -> Self:
        self._sketches = self._sketches_path.open("wb")
        self._lines = pq.ParquetWriter(self._lines_path, _LINES)
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._sketches.close()

    def add(self, rows: Sequence[TableRow], scores: Sequence[Score]) -> None:
        """Add rows, in order.

        Raises:
            ValueError: A score is not that of its sample: it has more or fewer tokens.
        """
        lines = [_line(row, score, self._mode) for row, score in zip(rows, scores, strict=True)]
        table = pa.Table.from_pylist(lines, schema=_LINES.remove(_TOKEN_LOGP))
        logp = _per_token(rows, scores)
        self._lines.write_table(table.add_column(_TOKEN_LOGP, _LINES.field(_TOKEN_LOGP), logp))
        self._sketches.writelines(score.sketch or _NO_SKETCH for score in scores)
        self._is_scored.append(np.array([score.sketch is not None for score in scores]))
        halves = np.frombuffer(b"".join(row.key[:16] for row in rows), dtype=np.uint64)
        self._digests.append(halves.reshape(-1, 2))
        self.n_failed += sum(line["status"] != "scored" for line in lines)

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the whole table, when the draft is closed."""
        recurrence = gradient_recurrence(
            self._blocks, np.concatenate(self._digests), np.concatenate(self._is_scored)
        )
        done = 0
        schema = SCORE_SCHEMA.with_metadata(metadata)
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches(self._lines_path, _LINES, _BLOCK_ROWS):
                values = recurrence[done : done + len(batch)]
                done += len(batch)
                known = is_scored(batch) & np.isfinite(values)
                column = pa.array(values, pa.float64(), mask=~known)
                columns = batch.columns
                columns.insert(_RECURRENCE, column)
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _blocks(self) -> Iterator[npt.NDArray[np.float16]]:
        with self._sketches_path.open("rb") as file:
            while content := file.read(_BLOCK_ROWS * SKETCH_BYTES):
                yield np.frombuffer(content, dtype="<f2").reshape(-1, SKETCH_BYTES // 2)


def _line(row: TableRow, score: Score, mode: Mode) -> dict[str, Any]:
    """A line of the table; a failed one has no signal."""
    values = asdict(score)
    entropy = score.entropy(mode)
    values |= score.against_probes()
    if score.status == "scored" and entropy is None:
        values |= {"status": "failed", "reason": f"the gradient vanishes in the {mode}"}
        values |= dict.fromkeys(("entropy_crop", "entropy_full", "evenness", *SAFETY))
    return {"row": row.row, "sample_id": row.sample_id, "spectral_entropy": entropy} | values


def _per_token(rows: Sequence[TableRow], scores: Sequence[Score]) -> pa.ListArray:
    """The log-probabilities of the tokens, null where a score has none."""
    packed = [score.token_logp for score in scores]
    for row, one in zip(rows, packed, strict=True):
        if one is not None and len(one) != 2 * row.n_tokens:
            raise ValueError(
                f"a sample of {row.n_tokens} tokens has {len(one)} bytes of token_logp"
            )
    ends = np.cumsum([0, *(len(one or b"") // 2 for one in packed)])
    values = np.frombuffer(b"".join(one or b"" for one in packed), dtype="<f2")
    numbers = pa.array(values, pa.float16(), from_pandas=True)  # null for NaN
    unknown = pa.array([one is None for one in packed], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), numbers, mask=unknown)
