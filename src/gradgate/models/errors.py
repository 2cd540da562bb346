"""Failures of the libraries that load models, translated: hub silent, or model wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpx import TransportError
from huggingface_hub.errors import LocalEntryNotFoundError

from gradgate.errors import ModelError, TransientError

HUB_SILENT = (ConnectionError, TimeoutError, TransportError, LocalEntryNotFoundError)


@contextmanager
def translated_errors(subject: str) -> Iterator[None]:
    """Tell a hub that did not answer from a model that is wrong or not there.

    transformers wraps both into an OSError; only the chain of causes tells them apart.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TransportError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, HUB_SILENT):
                reason = _first_lines(cause)
                raise TransientError(f"the hub did not answer for {subject}: {reason}") from error
            cause = cause.__cause__ or cause.__context__
        raise ModelError(f"cannot load {subject}: {_first_lines(error)}") from error


def _first_lines(error: BaseException) -> str:
    """Libraries append pages of advice to their errors; the cause stands in the first lines."""
    return " ".join(str(error).strip().splitlines()[:3]) or type(error).__name__
