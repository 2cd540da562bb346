"""What the footer of a Parquet file says of its columns' chunks.

pyarrow's own access to them ends the process where a damaged footer makes its C++ code throw, so
the footer is read here. It is a struct in Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from dataclasses import dataclass
from typing import Any

from gradgate.errors import DataError

_TRAILER = 8  # bytes: the length of the footer, and the magic
_BYTE_ARRAY = 6  # the physical type of text
# Numbers of fields in FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_TYPE, _ENCODINGS, _PATH, _N_VALUES, _UNCOMPRESSED, _DICTIONARY = 1, 2, 3, 5, 6, 11
_STORED_ONCE = frozenset([2, 8])  # the encodings PLAIN_DICTIONARY and RLE_DICTIONARY


@dataclass(frozen=True, slots=True)
class Chunk:
    """The values of a column in a row group.

    Attributes:
        path: Dotted name of the column.
        n_values: Missing ones too; of a list, its elements.
        n_bytes: Uncompressed, as they are encoded.
        has_stored_text: It is text, some of which a dictionary says once.
    """

    path: str
    n_values: int
    n_bytes: int
    has_stored_text: bool


def read_chunks(file: Any, path: str) -> list[list[Chunk]]:
    """The chunks of each row group.

    Args:
        file: Open for reading bytes.
        path: The file as errors name it, without credentials.

    Raises:
        DataError: The footer is damaged.
    """
    size = file.seek(0, 2)
    file.seek(size - _TRAILER)
    length = int.from_bytes(file.read(_TRAILER)[:4], "little")
    file.seek(max(0, size - _TRAILER - length))
    try:
        footer = _Compact(file.read(length)).struct()
        groups = footer[_ROW_GROUPS]
        chunks = [[_chunk(column[_META]) for column in group[_COLUMNS]] for group in groups]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: the footer of Parquet is damaged; get it anew") from error
    file.seek(0)
    return chunks


def _chunk(meta: dict[int, Any]) -> Chunk:
    n_values, n_bytes = int(meta[_N_VALUES]), int(meta[_UNCOMPRESSED])
    if min(n_values, n_bytes) < 0:
        raise ValueError("a negative size")
    has_dictionary = _DICTIONARY in meta or not _STORED_ONCE.isdisjoint(meta[_ENCODINGS])
    return Chunk(
        path=b".".join(meta[_PATH]).decode("utf-8"),
        n_values=n_values,
        n_bytes=n_bytes,
        has_stored_text=meta[_TYPE] == _BYTE_ARRAY and has_dictionary,
    )


class _Compact:
    """Decodes Thrift's compact protocol; fields by their numbers."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            # A boolean field has its value in its kind.
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 8):
            return self._bytes(8 if kind == 7 else self._varint())
        if kind in (9, 10):
            head = self._byte()
            size = head >> 4
            return [self._value(head & 15) for _ in range(self._varint() if size == 15 else size)]
        if kind == 11:
            size = self._varint()
            kinds = self._byte() if size else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(size)]
        if kind == 12:
            return self.struct()
        raise ValueError("the footer has a field of an unknown type")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise ValueError("the footer ends early")
        self._at += length
        return self._data[self._at - length : self._at]
