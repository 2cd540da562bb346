"""Draw the packages of the core and the imports between them: `python -m tools.structure`.

The rows are the layers of the import-linter contract in pyproject.toml; an arrow says that a module
of one package imports a module of the other. Where a package reaches another one through a third
too, the direct arrow is left out, so that the picture can be read.
"""

import tomllib
from pathlib import Path

import grimp
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "structure.svg"
CORE = "gradgate"
STEP = 2.6  # between the boxes of a row
INK, BOX, ARROW = "#1f2933", "#dce6f2", "#6b7c93"

Arrows = dict[str, set[str]]


def main() -> None:
    """Write docs/structure.svg."""
    matplotlib.rcParams["svg.hashsalt"] = CORE  # the same picture for the same code
    layers, arrows = read_layers(), read_arrows()
    figure = Figure(figsize=(8, 8), layout="constrained")
    draw(figure.subplots(), layers, arrows)
    figure.savefig(OUTPUT, metadata={"Date": None, "Description": in_words(arrows)})


def read_arrows() -> Arrows:
    """The arrows of the picture."""
    packages = {package for row in read_layers() for package in row}
    return without_detours(read_imports(packages))


def in_words(arrows: Arrows) -> str:
    """What the picture says, by which a test sees whether it is up to date."""
    return "; ".join(f"{here}: {', '.join(sorted(there))}" for here, there in arrows.items())


def read_layers() -> list[list[str]]:
    """The packages of each layer, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def read_imports(packages: set[str]) -> Arrows:
    """Which packages each package imports from."""
    graph = grimp.build_graph(CORE, exclude_type_checking_imports=True)
    arrows: Arrows = {package: set() for package in sorted(packages)}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            here, there = _package(module), _package(imported)
            if here != there and here in packages and there in packages:
                arrows[here].add(there)
    return arrows


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def without_detours(arrows: Arrows) -> Arrows:
    """Only those arrows that no longer way stands for."""
    return {
        here: {
            there
            for there in found
            if not any(there in _reached(arrows, other) for other in found - {there})
        }
        for here, found in arrows.items()
    }


def _reached(arrows: Arrows, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for there in arrows[waiting.pop()] - seen:
            seen.add(there)
            waiting.append(there)
    return seen


def draw(axes: Axes, layers: list[list[str]], arrows: Arrows) -> None:
    """Draw the boxes, layer below layer, and the arrows."""
    boxes = {}
    for number, row in enumerate(layers):
        aside = 1.7 * (-1) ** number if len(row) == 1 else 0.0  # or all arrows lie on one line
        for at, name in enumerate(row):
            x = (at - (len(row) - 1) / 2) * STEP + aside
            boxes[name] = _box(axes, name, (x, -float(number)))
    for here, found in arrows.items():
        for there in sorted(found):
            _arrow(axes, boxes[here], boxes[there])
    axes.set_xlim(-4.2, 4.2)
    axes.set_ylim(0.4 - len(layers), 0.4)
    axes.axis("off")


def _box(axes: Axes, name: str, place: tuple[float, float]) -> Text:
    style = {"boxstyle": "round,pad=0.5", "facecolor": BOX, "edgecolor": INK, "linewidth": 0.8}
    return axes.text(*place, name, ha="center", va="center", color=INK, bbox=style, zorder=3)


def _arrow(axes: Axes, start: Text, end: Text) -> None:
    style = {
        "arrowstyle": "-|>,head_width=0.25,head_length=0.5",
        "color": ARROW,
        "linewidth": 1.0,
        "patchA": start.get_bbox_patch(),
        "patchB": end.get_bbox_patch(),
        "shrinkB": 2,
        "connectionstyle": "arc3,rad=0.12",
    }
    axes.annotate(
        "", xy=end.get_position(), xytext=start.get_position(), arrowprops=style, zorder=2
    )


if __name__ == "__main__":
    main()
