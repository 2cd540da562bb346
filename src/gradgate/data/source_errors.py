"""Failures of files, stores and the hub, translated: whether another try may help, and why."""

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import datasets
import httpx
import huggingface_hub
import pyarrow as pa

from gradgate.common.redaction import redacted
from gradgate.errors import DataError, GradgateError, TransientError

_READ_ERRORS = (
    *(OSError, EOFError, ImportError, zlib.error, lzma.LZMAError),
    *(pa.ArrowException, aiohttp.ClientError),
)
_NO_ANSWER = (
    *(ConnectionError, TimeoutError, httpx.TransportError),
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError),
)


@contextmanager
def translated_errors(source: str) -> Iterator[None]:
    """Translate failures of reading.

    Raises:
        TransientError: A store did not answer; another try may help.
        DataError: The source cannot be read.
    """
    try:
        yield
    except _READ_ERRORS as error:
        shown = redacted(source)
        cause = error.__cause__ or error
        problem = (str(cause) or type(cause).__name__).replace(source, shown)
        if is_transient(error):
            raise TransientError(f"{shown} cannot be reached: {problem}") from error
        raise DataError(f"{shown} cannot be read: {problem}") from error


def hub_error(error: Exception, source: str) -> GradgateError:
    """The translation of a failure of `load_dataset`."""
    problem = f"{type(error).__name__}: {error}"
    if huggingface_hub.is_offline_mode():
        return DataError(
            f"{source} is no local file or folder, and HF_HUB_OFFLINE forbids to ask the hub; "
            f"unset it, or name a local copy ({problem})"
        )
    if not isinstance(error, datasets.exceptions.DatasetNotFoundError) and is_transient(error):
        return TransientError(f"the hub did not answer for the dataset {source} ({problem})")
    return DataError(
        f"{source} is no local file or folder, and the hub cannot give that dataset, name, split "
        f"or revision ({problem})"
    )


def is_transient(error: BaseException) -> bool:
    """Whether a missing answer is anywhere in the history of an error.

    The context is followed even where it is suppressed: datasets re-raises "from None".
    """
    cause = error.__cause__ or error.__context__
    return (
        isinstance(error, _NO_ANSWER)
        or _may_pass(http_status(error))
        or (cause is not None and is_transient(cause))
    )


def _may_pass(status: int | None) -> bool:
    return status is not None and (status in (408, 429) or status >= 500)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, if any."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status
    if isinstance(error, huggingface_hub.errors.HfHubHTTPError | httpx.HTTPStatusError):
        return error.response.status_code
    return None
