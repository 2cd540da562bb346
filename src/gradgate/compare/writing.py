"""The files of a comparison."""

from pathlib import Path

from gradgate.common.files import aside, written_whole
from gradgate.compare.plot import plot_comparison
from gradgate.compare.result import Comparison, to_csv

FILES = ("compare.csv", "compare.png", "compare.json")


def write(comparison: Comparison, folder: Path) -> None:
    """Write table, picture and, last, all of it as JSON."""
    table, picture, record = (folder / name for name in FILES)
    with written_whole(table) as part:
        part.write_text(to_csv(comparison), encoding="utf-8")
    with written_whole(picture, aside(picture, ".part.png")) as part:
        plot_comparison(comparison, part)
    with written_whole(record) as part:
        part.write_text(comparison.to_json(), encoding="utf-8")
