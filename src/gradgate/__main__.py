"""Entry point of `gradgate` and `python -m gradgate`: the environment first, then the libraries."""

import sys
from io import TextIOWrapper

from gradgate.common.environment import set_defaults
from gradgate.common.signals import exit_on_signals


def main() -> None:
    """Run the command line."""
    set_defaults()
    exit_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of a terminal that is not Unicode
    from gradgate.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
