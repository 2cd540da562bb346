"""Failures of the libraries that load and run models, translated at the border to one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpx import TransportError
from huggingface_hub.errors import LocalEntryNotFoundError

from gradgate.errors import GradgateError, ModelError, TransientError

HUB_SILENT = (ConnectionError, TimeoutError, TransportError, LocalEntryNotFoundError)

_MAX_CHARACTERS = 400
# Errors whose message says little without the kind of error.
_TERSE = (LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)


@contextmanager
def translated_errors(subject: str, doing: str = "load") -> Iterator[None]:
    """Turn whatever a library raises into one line about the subject.

    A hub that did not answer is told from a model that is wrong or not there: transformers wraps
    both into an OSError, and only the chain of causes tells them apart.

    Args:
        subject: What the block is about, as the message names it.
        doing: What is done to it.

    Raises:
        TransientError: The hub did not answer.
        ModelError: Anything else went wrong.
    """
    try:
        yield
    except GradgateError:
        raise
    except Exception as error:
        raise _translated(error, subject, doing) from error
    except BaseException as error:
        # A panic in Rust code (tokenizers, safetensors) is no Exception, and its class cannot be
        # imported.
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"cannot {doing} {subject}: {one_line(error)}") from error


def _translated(error: Exception, subject: str, doing: str) -> GradgateError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HUB_SILENT):
            what = f"the hub did not answer for {subject}, and there is no such folder here"
            return TransientError(f"{what}: {one_line(cause)}")
        cause = cause.__cause__ or cause.__context__
    return ModelError(f"cannot {doing} {subject}: {_reason(error)}")


def _reason(error: Exception) -> str:
    from gradgate.models.hardware import is_out_of_memory  # torch, which a digest does not need

    if is_out_of_memory(error):
        return (
            "there is not enough memory; free some, set model.dtype to bfloat16, or take a "
            "smaller model or a larger machine"
        )
    if isinstance(error, RecursionError):
        return "something in its files is nested too deeply"
    if isinstance(error, _TERSE):
        return f"{type(error).__name__}: {one_line(error)}"
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The message of a library's error, without the pages of advice that often follow it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3]) or type(error).__name__
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
