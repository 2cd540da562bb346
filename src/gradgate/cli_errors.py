"""How every command ends when something goes wrong."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError

from gradgate.errors import GradgateError
from gradgate.escaping import printable


@contextmanager
def errors_as_exit_code() -> Iterator[None]:
    """Turn every error into exit code 2, for 1 says that data were rejected."""
    try:
        yield
    except (GradgateError, ValidationError, OSError) as error:
        typer.echo(printable(f"error: {error}"), err=True)
        raise typer.Exit(2) from error
    except typer.Exit:
        raise
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error
    except Exception as error:
        traceback.print_exc()
        raise typer.Exit(2) from error
