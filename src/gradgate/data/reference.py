"""The trusted reference: samples of the same kind that somebody vouches for."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase

from gradgate.common.files import temporary_folder
from gradgate.config import DataConfig
from gradgate.data.prepare import Prepared, prepare, rejection_reasons
from gradgate.data.sources.files import has_file_extension
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError

_FIRST = 16  # rows that tell whether a reference can be read


@contextmanager
def reference_samples(
    source: str, data: DataConfig, tokenizer: PreTrainedTokenizerBase, limit: int
) -> Iterator[Prepared]:
    """The reference as a table of samples, which is gone at the end.

    Args:
        source: Hub id, file or folder; its columns and template are those of the data.
        data: How the rows of the data are read.
        tokenizer: Of the model.
        limit: Longest sample in tokens.

    Raises:
        DataError: Not a single row of it is a sample.
    """
    with temporary_folder("gradgate-reference-") as folder:
        config = _config(source, data)
        found = prepare(config, tokenizer, limit, folder)
        if found.n_samples == 0:
            raise DataError(
                f"none of the {found.n_rows} rows of the reference {found.source} is a sample: "
                f"{rejection_reasons(found)}"
            )
        yield found


def check_reference(
    source: str, data: DataConfig, tokenizer: PreTrainedTokenizerBase, limit: int
) -> None:
    """Find out from its first rows whether a reference can be read; arguments as above.

    Raises:
        DataError: It cannot, or its columns are of no row format.
        TransientError: A remote store or the hub did not answer.
    """
    config = _config(source, data)
    with temporary_folder("gradgate-reference-") as folder:
        try:
            first = itertools.islice(open_rows(config), _FIRST)
            prepare(config, tokenizer, limit, folder, first)
        except DataError as error:
            raise DataError(f"detection.reference: {error}") from error


def _config(source: str, data: DataConfig) -> DataConfig:
    own = ["name", "revision", "delimiter", "expected_rows"]  # of the data alone
    if not os.path.isdir(source) and has_file_extension(source):
        own.append("split")  # which a file has none of
    return data.model_copy(update={"source": source, **dict.fromkeys(own)})
