"""The splits of a folder that is laid out as on the hub, as datasets.load_dataset sees them."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

# Private, but the only place that has the order in which load_dataset tries its patterns.
from datasets.data_files import _get_data_files_patterns, sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from fsspec.utils import glob_translate

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig, parse_yaml
from gradgate.errors import DataError

_ALL = "all"  # a split that has every file
_CARD = "README.md"
_MAX_CARD = 1 << 20  # bytes of it that are read
_ANYTHING = ["**"]  # the pattern of a folder whose names say nothing of splits


@dataclass(frozen=True, slots=True)
class Split:
    """The files of a split.

    Attributes:
        paths: In the order of reading.
        n_rows: What README.md says; None where it says nothing.
    """

    paths: list[str]
    n_rows: int | None = None


def chosen_split(config: DataConfig, store: Any, folder: str, paths: list[str]) -> Split:
    """The files that `data.name` and `data.split` choose.

    Args:
        config: The source and what was chosen of it.
        store: An fsspec file system.
        folder: Path in it.
        paths: The data files below it, sorted.

    Raises:
        DataError: There is no such configuration or split, several and none is chosen, files
            that belong to no split, or README.md is malformed.
    """
    shown = redacted(config.source)
    try:
        card = _card(store, folder)
        name, splits = _splits(card, config.name, shown, {_below(x, folder): x for x in paths})
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        raise DataError(f"{shown}: {_CARD} is malformed: {_short(error)}") from error
    if not splits:
        if config.split not in (None, _ALL):
            raise DataError(
                f"{shown} is a file or a folder of files and cannot obey data.split; leave it out"
            )
        return Split(paths)
    if config.split == _ALL and _ALL not in splits:
        return Split(paths)
    split = one_split(list(splits), config, f", or {_ALL} for every file")
    is_told = config.split is not None or name is not None  # in the configuration or README.md
    left = [] if is_told else sorted(set(paths) - set(splits[split]))
    if left:
        raise DataError(
            f"{shown}: of no split is {_below(left[0], folder)!r} ({len(left)} such files); name "
            f"{split} in data.split, or {_ALL} for every file"
        )
    return Split(splits[split], _stated(card, name, split))


def one_split(names: list[str], config: DataConfig, besides: str = "") -> str:
    """The split that `data.split` chooses, or the only one; `besides`: what it may name as well.

    Raises:
        DataError: It is missing or unknown.
    """
    shown, listed = redacted(config.source), ", ".join(names)
    if config.split is None and len(names) != 1:
        raise DataError(f"{shown} has the splits {listed}; name one in data.split{besides}")
    if config.split is not None and config.split not in names:
        raise DataError(f"{shown} has no split {config.split!r}; data.split is one of {listed}")
    return config.split or names[0]


def _splits(
    card: Mapping[str, Any], name: str | None, shown: str, files: dict[str, str]
) -> tuple[str | None, dict[str, list[str]]]:
    """The configuration, and the files of its splits; none where nothing tells splits apart."""
    configs = MetadataConfigs.from_dataset_card_data(card)
    chosen = name or configs.get_default_config_name()
    if configs and chosen not in configs:
        raise DataError(
            f"{shown} has no configuration {chosen!r}; data.name is one of {', '.join(configs)}"
            if chosen
            else f"{shown} has the configurations {', '.join(configs)}; name one in data.name"
        )
    if not configs and name is not None:
        raise DataError(f"{shown} has no configurations and cannot obey data.name; leave it out")
    parameters = configs[chosen] if configs else {}
    base = str(parameters.get("data_dir", ""))
    within = {posixpath.relpath(x, base or "."): x for x in files if _is_below(x, base)}
    if parameters.get("data_files") is not None:
        patterns = sanitize_patterns(parameters["data_files"])
    else:
        patterns = _get_data_files_patterns(lambda pattern: _matches([pattern], within))
        patterns = {} if list(patterns.values()) == [_ANYTHING] and not base else patterns
    splits = {
        str(split): [files[within[x]] for x in _matches(patterns[split], within)]
        for split in patterns
    }
    empty = [split for split, found in splits.items() if not found]
    if empty:
        raise DataError(f"{shown}: {_CARD} names a split {empty[0]!r} of which no file is there")
    return chosen, splits


def _matches(patterns: Any, names: Mapping[str, str]) -> list[str]:
    """The names that a pattern matches, each once, in the order of the patterns."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = re.compile(glob_translate(f"/{str(pattern).removeprefix('./')}")).match
        found |= dict.fromkeys(name for name in sorted(names) if matches(f"/{name}"))
    return list(found)


def _is_below(path: str, base: str) -> bool:
    base = posixpath.normpath(base) if base else "."
    return base == "." or path.startswith(f"{base}/")


def _below(path: str, folder: str) -> str:
    return posixpath.relpath(path, folder)


def _card(store: Any, folder: str) -> Mapping[str, Any]:
    """The YAML at the head of README.md; nothing where there is none."""
    try:
        content = store.cat_file(f"{folder}/{_CARD}", 0, _MAX_CARD)
    except (FileNotFoundError, IsADirectoryError):
        return {}
    lines = content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    marks = [i for i, line in enumerate(lines) if line.rstrip() == "---"][:2]
    if len(marks) < 2 or marks[0] != 0:
        return {}
    found = parse_yaml("\n".join(lines[1 : marks[1]]))
    if not isinstance(found, Mapping | None):
        raise ValueError("its head is no mapping")
    return found or {}


def _stated(card: Mapping[str, Any], name: str | None, split: str) -> int | None:
    """How many rows README.md says that a split has."""
    infos = card.get("dataset_info") or []
    for info in [infos] if isinstance(infos, Mapping) else infos:
        if name is None or info.get("config_name", "default") == name:
            for stated in info.get("splits") or []:
                if stated.get("name") == split and isinstance(stated.get("num_examples"), int):
                    return int(stated["num_examples"])
    return None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
