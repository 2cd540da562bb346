"""Data that somebody is about to train on, held against what a statement accepts.

They are read by the settings of the statement, never by those of whoever brings them. Memory does
not depend on the number of rows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from gradgate.attest.merkle import MerkleTree
from gradgate.attest.statement import Accepted, Dataset, Predicate
from gradgate.common.files import file_sha256
from gradgate.config import DataConfig, Limits
from gradgate.data.formats.fields import RowFormat, shown
from gradgate.data.formats.mapping import RowMapping, to_sample
from gradgate.data.rows.row import RawRow, written_name
from gradgate.data.sample import RejectedRowError
from gradgate.data.sources.files import read_files
from gradgate.data.sources.source import open_rows
from gradgate.data.tokenized import IGNORED, TOKENS, check_single, numbers_of
from gradgate.data.tokens_digest import TokensDigest
from gradgate.errors import DataError

_MAX_ID = 2**31 - 1  # as the digest of the tokens has them
_UNLIMITED = Limits(row_mib=1024, expansion=2**31, columns=2**31)

Covered = Literal["file", "rows", "tokens"]


class OtherDataError(Exception):
    """The data are not those that were accepted; says what differs. Never leaves this package."""


@dataclass(frozen=True)
class Place:
    """Where the data are: a source, and what of it."""

    source: str
    name: str | None = None
    split: str | None = None
    revision: str | None = None


def check_place(place: Place, predicate: Predicate) -> Covered:
    """Check the rows of a source.

    Returns:
        `file` for the very file that the gate wrote, otherwise as `check_rows`.

    Raises:
        OtherDataError: They are not the accepted rows.
        DataError: The source is not there.
        TransientError: A service did not answer.
    """
    accepted, path = accepted_rows(predicate), Path(place.source)
    if path.is_file() and file_sha256(path) == accepted.file_sha256:
        return "file"
    config = DataConfig(
        source=place.source,
        name=place.name,
        split=place.split,
        revision=place.revision,
        limits=_read_as(predicate).limits,
    )
    return check_rows(open_rows(config), predicate)


def check_file(path: Path, predicate: Predicate) -> None:
    """Check the rows of a local file that the gate wrote, whatever its digest and its size.

    Errors as for `check_rows`. What the gate was given has passed the limits already; written by
    the gate it may be larger, or compressed better.
    """
    config = _read_as(predicate).model_copy(update={"delimiter": None, "limits": _UNLIMITED})
    check_rows(read_files(LocalFileSystem(), [str(path)], config), predicate)


def check_rows(rows: Iterable[RawRow], predicate: Predicate) -> Covered:
    """Check rows by their samples, or by their tokens where the gate judged tokens.

    Raises:
        OtherDataError: They are not the accepted rows, or not in their order.
    """
    accepted = accepted_rows(predicate)
    dataset = predicate.dataset
    if dataset is None or dataset.row_format is None:
        raise OtherDataError("the attestation does not say how its rows are read")
    read = _readable(rows, accepted)
    if dataset.row_format == TOKENS.name:
        check_tokens((_tokens_of(raw) for raw in read), accepted)
        return "tokens"
    settings = _read_as(predicate)
    mapping = _mapping(dataset.row_format, dataset, settings)
    tree = MerkleTree()
    for raw in read:
        try:
            sample = to_sample(raw.value or {}, raw.row, mapping, settings.template)
        except RejectedRowError as error:
            raise OtherDataError(f"row {raw.row} of the data is no sample: {error}") from error
        tree.add(bytes.fromhex(sample.sample_id))
    _check_number(tree.n, accepted)
    if tree.root != accepted.root:
        raise OtherDataError(
            f"the {tree.n:,} rows of the data are not the accepted ones, or not in their order: "
            f"Merkle root {tree.root}, and not {accepted.root}"
        )
    return "rows"


def check_tokens(rows: Iterable[tuple[list[int], list[bool]]], accepted: Accepted) -> None:
    """Check token ids and loss masks; errors as for `check_rows`."""
    digest, n = TokensDigest(), 0
    for ids, mask in rows:
        n += 1
        if n > accepted.n:
            break
        digest.add(np.array(ids, np.int32), np.array(mask, bool))
    _check_number(n, accepted)
    if digest.hexdigest() != accepted.tokens:
        raise OtherDataError(
            f"the tokens or loss masks of the {n:,} rows are not those that were judged, or not in "
            f"their order: digest {digest.hexdigest()}, and not {accepted.tokens}"
        )


def accepted_rows(predicate: Predicate) -> Accepted:
    """What a statement accepts.

    Raises:
        OtherDataError: Nothing.
    """
    if predicate.accepted is None:
        raise OtherDataError("the attestation accepts no rows")
    return predicate.accepted


def _readable(rows: Iterable[RawRow], accepted: Accepted) -> Iterator[RawRow]:
    """The rows, as long as each can be read and has no column that nobody judged."""
    known, n = set(accepted.columns), 0
    try:
        for raw in rows:
            n += 1
            if n > accepted.n:
                _check_number(n, accepted)
            if raw.value is None:
                raise OtherDataError(f"row {raw.row} of the data cannot be read: {raw.problem}")
            if not raw.value.keys() <= known:
                _check_names(raw.row, set(map(written_name, raw.value)) - known)
            yield raw
    except DataError as error:
        raise OtherDataError(f"the data cannot be read to their end: {error}") from error


def _check_names(row: int, unknown: set[str]) -> None:
    if unknown:
        raise OtherDataError(
            f"row {row} of the data has a column {shown(min(unknown))}, which no accepted row has"
        )


def _check_number(n: int, accepted: Accepted) -> None:
    if n > accepted.n:
        raise OtherDataError(f"the data have more than the {accepted.n:,} accepted rows")
    if n < accepted.n:
        raise OtherDataError(f"the data have {n:,} rows, and {accepted.n:,} were accepted")


def _read_as(predicate: Predicate) -> DataConfig:
    """How the gate was told to read the data."""
    try:
        return DataConfig.model_validate(predicate.settings.get("data"))
    except ValidationError as error:
        raise OtherDataError("the attestation's settings do not say how to read data") from error


def _mapping(row_format: RowFormat, dataset: Dataset, settings: DataConfig) -> RowMapping:
    return RowMapping(
        row_format=row_format,
        columns=dataset.columns,
        is_detected=settings.columns is None,
        ignored=frozenset(settings.ignore_columns),
        preference=settings.preference,
        template_names=frozenset(dataset.template_names),
    )


def _tokens_of(raw: RawRow) -> tuple[list[int], list[bool]]:
    """Ids and loss mask of a row of tokens."""
    value = raw.value or {}
    try:
        ids, labels = numbers_of(value, "input_ids"), numbers_of(value, "labels")
        check_single(value)
    except RejectedRowError as error:
        raise OtherDataError(f"row {raw.row} of the data is no sample: {error}") from error
    if len(ids) != len(labels):
        raise OtherDataError(f"row {raw.row} of the data has more ids than labels, or fewer")
    if any(label not in (IGNORED, token) for token, label in zip(ids, labels, strict=True)):
        raise OtherDataError(f"row {raw.row} of the data learns another token than it has")
    if not 0 <= min(ids) <= max(ids) <= _MAX_ID:
        raise OtherDataError(f"row {raw.row} of the data has a number that is no token id")
    return ids, [label != IGNORED for label in labels]
