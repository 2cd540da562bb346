"""What the commands share: a folder for the work, the rejected rows, and quiet libraries."""

import logging
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from transformers.utils import logging as transformers_logging

from gradgate.cli.lines import say
from gradgate.common.files import aside, sync, temporary_folder, written_whole
from gradgate.data.prepare import Prepared
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from gradgate.scoring.config import ScoreConfig

TABLE, LINES, RECORD, PAGE = (
    (".parquet", ".pq"),
    (".jsonl", ".ndjson"),
    (".json",),
    (".html", ".htm"),
)
_FORMATS = {
    **dict.fromkeys(TABLE, "Parquet"),
    **dict.fromkeys(LINES, "JSON lines"),
    **dict.fromkeys(RECORD, "JSON"),
    **dict.fromkeys(PAGE, "HTML"),
    ".arrow": "Arrow",
    ".csv": "CSV",
    ".feather": "Feather",
    ".gz": "gzip",
    ".md": "Markdown",
    ".pdf": "PDF",
    ".tsv": "TSV",
    ".txt": "text",
    ".xlsx": "Excel",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".zip": "ZIP",
    ".zst": "Zstandard",
}


def quiet_libraries() -> None:
    """Let libraries say what is wrong, and nothing else."""
    transformers_logging.disable_progress_bar()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in ("httpx", "huggingface_hub"):  # every attempt; that it failed is told at the end
        logging.getLogger(name).setLevel(logging.ERROR)


def inputs_of(config: ScoreConfig) -> list[str]:
    """What a command with this configuration reads."""
    named = [config.data.source, config.model.path, config.model.adapter]
    if isinstance(config, GateConfig):
        named += [config.detection.reference, config.safety.probes]
    return [*filter(None, named)]


@contextmanager
def workspace(output: Path, beside: list[Path], inputs: list[str]) -> Iterator[Path]:
    """A folder beside the output, so that the table gets its name in one step.

    Args:
        output: The table; `require_file` has let it through.
        beside: Other files that are written.
        inputs: What is read.
    """
    check_output([output, *beside], inputs)
    with scratch_beside(output) as folder:
        yield folder


@contextmanager
def scratch_beside(output: Path) -> Iterator[Path]:
    """A folder beside an output, which is gone at the end.

    Raises:
        ConfigError: It cannot be made.
    """
    make_folder(output)
    with ExitStack() as stack:
        try:
            folder = temporary_folder(f".{output.name}.", output.parent, ".part")
            path = stack.enter_context(folder)
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror}") from error
        yield path


@contextmanager
def earlier_aside(paths: Sequence[Path]) -> Iterator[None]:
    """Take outputs of an earlier run out of the way before the work begins.

    So what a run leaves that is killed or breaks cannot be taken for its result. They go when the
    block ends well; until then they are hidden beside their places, and it is said where.
    """
    kept = {path: aside(path, ".earlier") for path in paths}
    for path, other in kept.items():
        if path.exists() or path.is_symlink():
            _remove(other)
            path.replace(other)
            sync(path.parent)
    try:
        yield
    except BaseException:
        for path, other in kept.items():
            if other.exists() and not path.exists():
                say(f"{path} of an earlier run is kept as {other}")
        raise
    for other in kept.values():
        _remove(other)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_folder(output: Path) -> None:
    """Make the folder of an output before there is anything to be lost.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error


def rejected_path(output: Path) -> Path:
    """Where the rejected rows go."""
    return output.with_name(output.name.removesuffix(".parquet") + ".rejected.parquet")


def rows_path(output: Path) -> Path:
    """Where the accepted, the quarantined and the rejected rows go: a folder."""
    return output.with_name(output.name.removesuffix(".parquet") + ".rows")


def attestation_path(output: Path) -> Path:
    """Where the attestation goes."""
    return output.with_name(output.name.removesuffix(".parquet") + ".attestation.json")


def publish_rejected(prepared: Prepared, path: Path) -> None:
    """Put the rejected rows where they are looked for; its folder is made when missing."""
    if not prepared.n_rejected:
        path.unlink(missing_ok=True)  # of an earlier run
        return
    path.parent.mkdir(exist_ok=True)
    with written_whole(path) as part:
        shutil.copyfile(prepared.rejected_path, part)


def require_file(output: Path, *endings: str) -> None:
    """Refuse an output that no file can be, or whose name promises another format.

    Args:
        output: The file to write.
        endings: Those of its format, the usual one first; none for any. A name may lack one, or
            have one that is of no format, such as `scores.v2`.

    Raises:
        ConfigError: It is a folder, has no name, or has the ending of another format.
    """
    if output.is_dir() or not output.name:
        raise ConfigError(f"the output {output} is a folder; name a file")
    ending = output.suffix.lower()
    if endings and ending in _FORMATS and ending not in endings:
        raise ConfigError(
            f"the output {output} would not be a {ending} file: {_FORMATS[endings[0]]} is written; "
            f"name it {output.with_suffix(endings[0]).name}"
        )


def check_output(written: list[Path], inputs: list[str]) -> None:
    """Refuse to write over what is read, and what is no file.

    Raises:
        ConfigError: One of the files to write is read or inside of what is read, or is a device or
            a pipe, which a file would take the place of.
    """
    for path in written:
        if path.exists() and not path.is_file():
            raise ConfigError(f"the output {path} is no file; name one, or one that is not there")
        _check_apart(path, inputs)


def check_rows_folder(folder: Path, files: set[str], inputs: list[str]) -> None:
    """Refuse to put the rows where something else is.

    Raises:
        ConfigError: There is a file, or a folder that holds more than the rows of an earlier run.
    """
    _check_apart(folder, inputs)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"the rows are written into {folder}, which is no folder; move it away")
    others = {path.name for path in folder.iterdir()} - files if folder.exists() else set()
    if others:
        raise ConfigError(
            f"the rows are written into {folder}, which holds {sorted(others)[0]} besides; "
            "move it away, or name another output"
        )


def _check_apart(path: Path, inputs: list[str]) -> None:
    for read in (Path(re.sub("^(file|local)://", "", name)) for name in inputs):
        is_within = read.resolve() in path.resolve().parents
        if (
            path.resolve() == read.resolve()
            or is_within
            or path.resolve() in read.resolve().parents
        ):
            raise ConfigError(f"the output {path} would be written into the input {read}")
