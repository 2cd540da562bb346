"""A file of JSON lines that grows as results are made; a torn last line is dropped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines; what a process that was killed left of its last one is cut off."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole, _, torn = text.rpartition("\n")
    if torn:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    yield from map(json.loads, whole.splitlines())


def add_line(path: Path, content: dict[str, Any]) -> None:
    """Write a line; it is in the file when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")
