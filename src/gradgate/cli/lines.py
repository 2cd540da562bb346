"""Lines for people: what comes from data can neither move the cursor nor forge a line."""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from rich.console import Console
from rich.table import Table

from gradgate.common.escaping import printable

_WIDE = 240  # columns of a table where nothing says how wide the output is


def one_line(text: object) -> str:
    """Foreign text that is harmless on a terminal, in one line."""
    return printable(str(text)).replace("\n", r"\n")


def say(text: str) -> None:
    """A line about the run, on stderr; stdout is for results.

    That nobody can read it is no failure of the run.
    """
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{one_line(text)}\n")
            sys.stderr.flush()
    except OSError:
        sys.stderr = None  # Python would try once more at its end


def say_loading() -> None:
    """Say what the first seconds of a run are spent on, where the libraries are not loaded yet."""
    if "torch" not in sys.modules:
        say("loading PyTorch and the libraries of the model ...")


def tell(text: str) -> None:
    """A line of the result, on stdout; errors as for `give`."""
    give(f"{one_line(text)}\n")


def give(text: str) -> None:
    """Write a result to stdout; a reader who has gone has read enough.

    Raises:
        OSError: Stdout is closed or full.
    """
    if sys.stdout is None:
        raise OSError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # Python would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def give_table(table: Table) -> None:
    """Write a table to stdout, as wide as the terminal."""
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def under(name: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Several lines under one name, for `say_named`."""
    return zip(chain([name], repeat("")), texts, strict=False)


def say_named(lines: Iterable[tuple[str, str]]) -> None:
    """Say the last lines of a run: names, and texts beside them."""
    for name, text in lines:
        say(f"{name:<11} {text}")


def say_phase(text: str) -> None:
    """A line for a phase of the run, in a log; on a terminal there is the bar."""
    if sys.stderr is not None and not sys.stderr.isatty():
        say(text)
