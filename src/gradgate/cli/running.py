"""How every command runs, and how it ends when something goes wrong."""

import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, MissingArgumentError
from pydantic import ValidationError

from gradgate.cli.lines import say
from gradgate.cli.options import help_asked
from gradgate.errors import GradgateError

INTERRUPTED = 130  # what a shell makes of Ctrl-C


def run(app: App, arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code; every error is 2, for 1 says that data are rejected.

    Args:
        app: The commands, each of which returns an exit code.
        arguments: Without the name of the program; those of this process when absent.
    """
    try:
        with help_asked(sys.argv[1:] if arguments is None else arguments) as words:
            code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0  # help and version return nothing
    except CycloptsError as error:
        say(f"error: {_said(error)}")
    except (GradgateError, ValidationError, OSError) as error:
        say(f"error: {error}")
    except KeyboardInterrupt:
        say("stopped, without a result")
        return INTERRUPTED
    except SystemExit as error:
        if error.code == 1:  # rich ends so when nobody reads the help any more
            return 0
        raise
    except Exception:
        traceback.print_exc()
    return 2


def _said(error: CycloptsError) -> str:
    """What is wrong with what was typed, in a line."""
    lacks = error.argument if isinstance(error, MissingArgumentError) else None
    if lacks is None or lacks.tokens or (error.command_chain is None):
        return " ".join(str(error).split())
    command = " ".join(error.command_chain)
    return f"{command} needs {lacks.name}; `{command} --help` says what it takes"
