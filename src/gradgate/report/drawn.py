"""Drawn rows as one HTML page that a person reads before trusting them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradgate.common.files import written_whole
from gradgate.errors import DataError
from gradgate.report.page import environment


@dataclass(frozen=True)
class DrawnRow:
    """A row to look at.

    Attributes:
        row: Number in the source.
        prompt: All text that is given.
        target: All text that is learnt.
    """

    row: int
    prompt: str
    target: str


def write_drawn(path: Path, rows: Sequence[DrawnRow], source: str, lines: str) -> None:
    """Write the page; a file that is there is replaced only by a whole one.

    Args:
        path: The page.
        rows: In the order of the lines.
        source: What was drawn from.
        lines: Name of the file whose lines they are.

    Raises:
        DataError: The file cannot be written.
    """
    page = environment().get_template("drawn.html").render(rows=rows, source=source, lines=lines)
    try:
        with written_whole(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"the page {path} cannot be written: {error}") from error
