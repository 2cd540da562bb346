"""Static access to the source files of the Python packages installed beside the demo.

Nothing found here is ever imported or executed: packages are located with
`importlib.util.find_spec` and their files are only parsed with `ast`.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES: tuple[str, ...] = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "transformers",
    "peft",
    "datasets",
    "matplotlib",
    "sklearn",
    "mlflow",
    "prefect",
    "great_expectations",
    "pyarrow",
    "sqlalchemy",
    "accelerate",
    "networkx",
    "sympy",
    "fastapi",
    "pydantic",
)
"""Packages looked at, in order; those that are not installed are skipped."""

SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "conftest", "externals", "_external", "third_party"}
    | {"vendor", "vendored", "_vendor", "vendored_packages", "_vendored"}
)
"""Test code, and code copied in from elsewhere (its licence may differ from the package's)."""


def package_root(package: str) -> Path | None:
    """Locate a package folder without importing it.

    Args:
        package: A top-level import name; a dotted name would import its parent.

    Returns:
        The folder, or None when the package is absent or is a single-file module.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def installed_packages() -> list[str]:
    """Name the members of `PACKAGES` that are installed here, in that order."""
    return [name for name in PACKAGES if package_root(name) is not None]


def python_files(root: Path) -> list[Path]:
    """List a package's own modules, sorted so that every machine sees the same order."""
    found = (path for path in root.rglob("*.py") if not _is_skipped(path.relative_to(root)))
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _is_skipped(relative: Path) -> bool:
    stem = relative.stem
    if stem == "conftest" or stem.startswith("test_") or stem.endswith("_test"):
        return True
    return any(part in SKIPPED_FOLDERS for part in relative.parts[:-1])


def module_name(root: Path, path: Path) -> str:
    """Give the dotted name a file would be imported under; `root` is the package folder."""
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse_file(path: Path) -> ast.Module | None:
    """Parse one file.

    Args:
        path: A Python source file.

    Returns:
        Its tree, or None when the file is a template, in another encoding or for another
        Python version: such files are common in big packages and are simply left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the cycle collector off meanwhile: it nearly doubles the time of parsing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def docstrings() -> Iterator[str]:
    """Yield every distinct docstring of the installed packages, private names included.

    Yields:
        Docstrings with their indentation cleaned, in the order of the sorted files.
    """
    seen: set[str] = set()
    for package in installed_packages():
        for text in package_docstrings(package):
            if text not in seen:
                seen.add(text)
                yield text


def package_docstrings(package: str) -> Iterator[str]:
    """Yield one package's docstrings, repeats included.

    Args:
        package: An import name; an absent package yields nothing.
    """
    root = package_root(package)
    for path in python_files(root) if root else []:
        tree = parse_file(path)
        yield from _tree_docstrings(tree) if tree else ()


def _tree_docstrings(tree: ast.Module) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            text = (ast.get_docstring(node) or "").strip()
            if text:
                yield text
