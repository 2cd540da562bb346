"""`gradgate unpack`: the flows that the wheel carries, for a machine without a checkout."""

import shutil
from pathlib import Path

import gradgate
from gradgate.cli.lines import say
from gradgate.common.files import aside
from gradgate.errors import ConfigError

CARRIED = Path(gradgate.__file__).parent / "_pipeline"
_PACKAGES = ("tasks", "expectations", "flows")  # replaced whole; flows last, for it is the mark
_SETTINGS = ("prefect.yaml", "gate.example.yaml")  # the user's, once they are there


def unpack_into(folder: Path, carried: Path) -> None:
    """Write the packages of the flows, and settings that are not there yet, into a folder.

    Args:
        folder: New, or written by an earlier call.
        carried: What the wheel carries, `CARRIED`.

    Raises:
        ConfigError: Nothing is carried, or a package of somebody else would be overwritten.
    """
    if not carried.is_dir():
        raise ConfigError(
            f"gradgate runs from a checkout ({carried.parents[2]}), and the flows lie there: "
            "set GRADGATE_HOME to that folder; only an installed wheel is unpacked"
        )
    mark = folder / "flows" / "VERSION"
    strange = [name for name in _PACKAGES if (folder / name).exists() and not mark.exists()]
    if strange:
        raise ConfigError(
            f"{folder / strange[0]} is there and was not written by gradgate unpack; "
            "name another folder, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PACKAGES:
        _replace(folder, carried, name)
    for name in _SETTINGS:
        _write_once(folder, carried, name)


def _replace(folder: Path, carried: Path, name: str) -> None:
    """Build a package aside and put it in the place of the earlier one."""
    part = aside(folder / name)
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(carried / name, part, ignore=shutil.ignore_patterns("__pycache__"))
    if name == "flows":
        (part / "VERSION").write_text(f"{gradgate.__version__}\n", encoding="utf-8")
    if (folder / name).exists():
        shutil.rmtree(folder / name)
    part.rename(folder / name)


def _write_once(folder: Path, carried: Path, name: str) -> None:
    """Write a file of settings, unless the user has one; say so if it differs."""
    theirs, ours = folder / name, carried / name
    if not theirs.exists():
        shutil.copyfile(ours, theirs)
    elif theirs.read_bytes() != ours.read_bytes():
        say(f"kept:    {theirs} (it differs from this version's, {ours})")
