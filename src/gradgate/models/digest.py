"""A model known by the content of its files."""

import hashlib
from pathlib import Path

from gradgate.common.files import file_sha256
from gradgate.models.folder import indexed_files

DECISIVE = (
    *("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"),
    "additional_chat_templates/*.jinja",  # of a tokenizer with several
)


def folder_digest(folder: Path) -> str:
    """sha256 over the files that decide a model's output: weights, configuration, tokenizer.

    Raises:
        ValueError: An index of the weights is damaged, or names a file outside the folder.
        OSError: A file cannot be read.
    """
    total = hashlib.sha256()
    for file in _decisive_files(folder):
        total.update(f"{file} {file_sha256(folder / file)}\n".encode())
    return total.hexdigest()


def _decisive_files(folder: Path) -> list[Path]:
    files = {p.relative_to(folder) for pattern in DECISIVE for p in folder.glob(pattern)}
    return sorted(files | _indexed(folder))


def signature(folders: list[Path]) -> list[tuple[Path, int, int, int]]:
    """Inode, size and time of the files: they change when somebody writes or replaces one."""
    files = [folder / file for folder in folders for file in _decisive_files(folder)]
    stats = [(file, file.stat()) for file in files]
    return [(file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def _indexed(folder: Path) -> set[Path]:
    """Files that an index of weights names; they may lie in subfolders."""
    indices = folder.glob("*.safetensors.index.json")
    return {Path(name) for index in indices for name in indexed_files(index)}
