"""Failures of files, stores and the hub, translated: whether another try may help, and why."""

import gzip
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
    # Arrow raises Python's own errors too, and a deeply nested type exhausts the stack.
    *(pa.ArrowException, ValueError, KeyError, IndexError, OverflowError, NotImplementedError),
    *(RecursionError, MemoryError, aiohttp.ClientError),
)
_NO_ANSWER = (
    *(ConnectionError, TimeoutError, httpx.TransportError),  # httpx2's has the same name
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError),
)


_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}  # by protocol
_STORE_PACKAGES = {
    *("httpx", "httpx2", "huggingface_hub", "s3fs", "botocore", "aiobotocore", "gcsfs", "google"),
    *("adlfs", "azure"),
}
_MEANINGS: dict[type[BaseException], str] = {
    RecursionError: "its values are nested too deeply",
    MemoryError: "it does not fit into the memory of this machine",
    EOFError: "the compressed file is cut: get it anew",
    gzip.BadGzipFile: "it is no gzip file, or damaged: get it anew, or take .gz off its name",
    UnicodeError: "it is no whole text of the encoding that its first bytes tell: save it as UTF-8",
}
_MAX_PROBLEM = 300  # characters of a library's message that are shown


@contextmanager
def translated_errors(source: str) -> Iterator[None]:
    """Translate failures of reading.

    Raises:
        TransientError: A store did not answer; another try may help.
        DataError: The source cannot be read.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, _READ_ERRORS) and not is_of_a_store(error):
            raise
        shown = redacted(source)
        if isinstance(error, ImportError):
            raise missing_package(error, source) from error
        problem = _problem(error).replace(source, shown)
        if is_transient(error):
            raise TransientError(f"{shown} cannot be reached: {problem}") from error
        raise DataError(f"{shown} cannot be read: {problem}") from error


def is_of_a_store(error: Exception) -> bool:
    """Whether a store's package raised it, which need not be installed to ask that."""
    return type(error).__module__.partition(".")[0] in _STORE_PACKAGES


def _problem(error: BaseException) -> str:
    """What went wrong, in a short line, and what to do where the reader can tell."""
    for kind, meaning in _MEANINGS.items():
        if isinstance(error, kind):
            return meaning
    cause = error.__cause__ or error
    text = " ".join((str(cause) or type(cause).__name__).split())
    text = "".join(c for c in text if c.isprintable())
    text = text if len(text) <= _MAX_PROBLEM else f"{text[:_MAX_PROBLEM]}..."
    is_damage = isinstance(error, pa.ArrowException | ValueError | KeyError | IndexError)
    return f"{text}; the file is damaged or cut: get it anew" if is_damage else text


def missing_package(error: ImportError, source: str) -> DataError:
    """What to install for the store that a source lies in."""
    protocol = source.partition("://")[0] if "://" in source else ""
    extra = _EXTRAS.get(protocol)
    cure = f"pip install 'gradgate[{extra}]'" if extra else " ".join(str(error).split())
    return DataError(f"{redacted(source)}: a package for {protocol}:// is not installed; {cure}")


def hub_error(error: Exception, source: str) -> GradgateError:
    """The translation of a failure of `load_dataset`."""
    problem = f"{type(error).__name__}: {error}"
    if huggingface_hub.is_offline_mode():
        return DataError(
            f"{source} is no local file or folder, and HF_HUB_OFFLINE forbids to ask the hub; "
            f"unset it, or name a local copy ({problem})"
        )
    if not isinstance(error, datasets.exceptions.DatasetNotFoundError) and is_transient(error):
        return TransientError(
            f"{source} is no local file or folder, and the hub did not answer for a dataset of "
            f"that name ({problem})"
        )
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
        or "TransportError" in {kind.__name__ for kind in type(error).__mro__}
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
