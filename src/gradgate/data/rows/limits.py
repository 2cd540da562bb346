"""Bounds on what a source may ask of the machine, in the units that readers count in."""

from dataclasses import dataclass

from gradgate.config import Limits
from gradgate.errors import DataError

MIB = 1 << 20
FREE_EXPANSION = 256 * MIB  # bytes that a file may grow to whatever its size


def max_row(limits: Limits) -> int:
    """Largest line, cell or row, in bytes or characters."""
    return limits.row_mib * MIB


def too_large(place: str, limits: Limits) -> DataError:
    """The error of a line, cell or row beyond the bound.

    Args:
        place: The file and the row, without credentials.
        limits: Those of the configuration.
    """
    return DataError(
        f"{place} is larger than data.limits.row_mib ({limits.row_mib} MiB); "
        "split the row, or set the limit higher"
    )


def check_expansion(path: str, expanded: int, packed: int, limits: Limits) -> None:
    """Refuse a compressed file that grows beyond the bound.

    Args:
        path: The file, without credentials.
        expanded: Bytes that came out of it.
        packed: Bytes that went in.
        limits: Those of the configuration.

    Raises:
        DataError: It grew to more than `limits.expansion` times its size, and beyond 256 MiB.
    """
    if expanded > FREE_EXPANSION and expanded > limits.expansion * packed:
        raise DataError(
            f"{path} grows to more than data.limits.expansion ({limits.expansion}) times its size; "
            "unpack it, or set the limit higher"
        )


def check_columns(path: str, n_columns: int, limits: Limits) -> None:
    """Refuse a table of too many columns.

    Raises:
        DataError: It has more than `limits.columns`.
    """
    if n_columns > limits.columns:
        raise DataError(
            f"{path} has {n_columns:,} columns, more than data.limits.columns "
            f"({limits.columns:,}); leave some out, or set the limit higher"
        )


@dataclass
class TableBounds:
    """What the rows of a table may take.

    Attributes:
        path: Its file as errors name it, without credentials.
        n_bytes: Of the file; None where it is not known.
        decoded: Bytes of the values so far, those that are stored once and meant often counted
            often.
    """

    path: str
    limits: Limits
    n_bytes: int | None = None
    decoded: int = 0

    def add(self, size: int) -> None:
        """Count so many bytes.

        Raises:
            DataError: The table grows to too many times the size of its file.
        """
        self.decoded += size
        if self.n_bytes is not None:
            check_expansion(self.path, self.decoded, self.n_bytes, self.limits)
