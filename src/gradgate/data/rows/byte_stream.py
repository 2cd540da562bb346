"""The bytes of a text file: unpacked, in UTF-8, and bounded."""

import codecs
import gzip
import io
import lzma
from typing import Any

import pyarrow as pa

from gradgate.config import Limits
from gradgate.data.rows.limits import check_expansion

_CHUNK = 1 << 16  # bytes that are read at once
_XZ_MEMORY = 256 << 20  # bytes; xz -9 needs 65 MiB, and a file may ask for 4 GiB
_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}


def text_bytes(file: Any, compression: str, path: str, limits: Limits) -> io.BufferedReader:
    """The text of a file as UTF-8 without a byte order mark.

    Args:
        file: Open for reading bytes; the caller closes it.
        compression: gzip, bz2, xz, zstd or "".
        path: The file as errors name it, without credentials.
        limits: Those of the configuration.

    Raises:
        DataError: While reading: it grows beyond the bound.
        OSError, EOFError, lzma.LZMAError: While reading: it is damaged or cut.
        UnicodeError: While reading: it is no whole UTF-16 or UTF-32.
    """
    raw = _Expanded(_unpacked(file, compression), file, path, limits) if compression else file
    stream = io.BufferedReader(raw, _CHUNK)
    encoding, n_mark = _encoding(stream.peek(4)[:4])
    stream.read(n_mark)
    return stream if encoding == "utf-8" else io.BufferedReader(_AsUtf8(stream, encoding), _CHUNK)


def _unpacked(file: Any, compression: str) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file)
    if compression == "xz":
        return _Xz(file)
    # bz2 too: Python's own reader leaves out what stands behind a damaged border of two streams.
    return pa.CompressedInputStream(file, compression)


def _encoding(head: bytes) -> tuple[str, int]:
    """The encoding by the first four bytes, and the length of the mark."""
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    # JSON and the names of columns begin with ASCII, half of which is zeros in UTF-16.
    zeros = [byte == 0 for byte in head]
    if zeros == [False, True, False, True]:
        return "utf-16-le", 0
    return ("utf-16-be", 0) if zeros == [True, False, True, False] else ("utf-8", 0)


class _Readable(io.RawIOBase):
    def readable(self) -> bool:
        return True


class _Expanded(_Readable):
    """What comes out of a compressed file, held against what went in."""

    def __init__(self, unpacked: Any, packed: Any, path: str, limits: Limits) -> None:
        self._unpacked = unpacked
        self._packed = packed
        self._path = path
        self._limits = limits
        self._expanded = 0

    def readinto(self, buffer: Any, /) -> int:
        data = self._unpacked.read(min(len(memoryview(buffer)), _CHUNK))
        self._expanded += len(data)
        check_expansion(self._path, self._expanded, self._packed.tell(), self._limits)
        memoryview(buffer)[: len(data)] = data
        return len(data)


class _Xz(_Readable):
    """Streams of xz one after the other.

    lzma.LZMAFile leaves out without a word what stands behind a damaged border of two streams.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._stream: lzma.LZMADecompressor | None = None
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._stream is not None and self._stream.eof:
                self._left, self._stream = self._stream.unused_data.lstrip(b"\0"), None
            needs_more = self._stream is None or self._stream.needs_input
            data = (self._left or self._file.read(_CHUNK)) if needs_more else b""
            self._left = b""
            if needs_more and not data:
                if self._stream is not None:
                    raise EOFError("the compressed file ends early")
                return b""
            if self._stream is None:
                data = data.lstrip(b"\0")  # padding between streams
                if not data:
                    continue
                self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            found = self._stream.decompress(data, size)
            if found:
                return found


class _AsUtf8(_Readable):
    """Text of another encoding as UTF-8; a lone surrogate stays one, which makes its row unread."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._waiting = b""

    def readinto(self, buffer: Any, /) -> int:
        data = b"..."
        while data and not self._waiting:
            data = self._stream.read(_CHUNK)
            text = self._decoder.decode(data, final=not data)
            self._waiting = text.encode("utf-8", "surrogatepass")
        n_bytes = min(len(memoryview(buffer)), len(self._waiting))
        memoryview(buffer)[:n_bytes] = self._waiting[:n_bytes]
        self._waiting = self._waiting[n_bytes:]
        return n_bytes
