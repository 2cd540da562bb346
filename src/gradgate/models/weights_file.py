"""The header of a safetensors file, read by ourselves to say what is wrong with the file.

The format: 8 bytes with the header's length (little-endian), the header (JSON), the values.
"""

import json
from pathlib import Path
from typing import Any, TypeAlias

Shapes: TypeAlias = dict[str, tuple[int, ...]]  # of tensors, by their names

_LENGTH_BYTES = 8
_MAX_HEADER = 100 * 10**6  # bytes; the safetensors library reads no longer one
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_shapes(file: Path) -> Shapes:
    """The shapes of the tensors by the header, against which the size of the file is held.

    Raises:
        ValueError: The file is a pointer, is not all there, or is damaged; the message names it.
        OSError: It cannot be read.
    """
    require_content(file)
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(_MAX_HEADER, size - _LENGTH_BYTES):
            raise ValueError(
                f"{file.name} is no safetensors file, or is damaged or half downloaded"
            )
        header = content.read(length)
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        shapes = {name: _shape(entry) for name, entry in tensors.items()}
        ends = [int(entry["data_offsets"][1]) for entry in tensors.values()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the header of {file.name} is damaged; download it again") from error
    whole = _LENGTH_BYTES + length + max(ends, default=0)
    if size != whole:
        state = "half downloaded" if size < whole else "damaged"
        raise ValueError(
            f"{file.name} is {state}: it has {size:,} bytes, and its header tells of {whole:,}; "
            "download it again"
        )
    return shapes


def _shape(entry: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in entry["shape"])


def require_content(file: Path) -> None:
    """Refuse a file that only stands for another one, or has nothing in it.

    Raises:
        ValueError: It is no regular file, is empty, or is a pointer of Git LFS.
        OSError: It cannot be read.
    """
    if not file.is_file():
        there = "is no regular file" if file.exists() else "is not there; was all downloaded?"
        raise ValueError(f"{file.name} {there}")
    with file.open("rb") as content:
        start = content.read(len(_POINTER))
    if start == _POINTER:
        raise ValueError(
            f"{file.name} is a Git LFS pointer and not the file itself; run `git lfs pull` in the "
            "folder, or download it again"
        )
    if not start:
        raise ValueError(f"{file.name} is empty; download it again")
