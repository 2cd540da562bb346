"""Where rows stand in a text file, as an editor counts."""

from collections.abc import Mapping
from pathlib import Path

_HEADERS = {".jsonl": 0, ".ndjson": 0, ".json": 0, ".csv": 1, ".tsv": 1}  # lines before row 0
_MARK = b"\xef\xbb\xbf"  # of UTF-8 at the beginning of a file


def line_numbers(path: Path, rows: Mapping[int, str]) -> dict[int, int]:
    """The lines, from 1, of rows that are a line each.

    A row is only named where the line has its very content: rows may go over several lines, and a
    file of other rows may have come in the meantime.

    Args:
        path: Of the source. Nothing is known of a folder, a table or a compressed file.
        rows: The content of rows by their number, from 0.
    """
    before = _HEADERS.get(path.suffix.lower())
    if before is None or not rows or not path.is_file():
        return {}
    found: dict[int, int] = {}
    row, last = -before - 1, max(rows)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(_MARK) if number == 1 else line
            row += bool(text.strip())
            if row in rows and _content(text) == rows[row].strip():
                found.setdefault(row, number)
            if row > last:
                break
    return found


def _content(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").strip()
