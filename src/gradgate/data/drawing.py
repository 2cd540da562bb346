"""Rows drawn at random, for somebody to look at: a trusted reference is made of them."""

import hashlib
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop

from gradgate.common.redaction import redacted
from gradgate.config.drawing import DrawConfig
from gradgate.data.formats.mapping import RowMapping, choose_mapping, to_sample
from gradgate.data.rows.row import RawRow
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        rows: In the order of the source, each with its sample.
        n_rows: Of the source.
        n_unusable: Of these, which are no sample and cannot be drawn.
    """

    rows: list[tuple[RawRow, Sample]]
    n_rows: int
    n_unusable: int


def draw(config: DrawConfig) -> Drawn:
    """Draw rows at random, every sample with the same probability however often it stands there.

    The source is read once, and no more than the drawn rows are held. A sample is drawn whose keyed
    digest is among the lowest, so that the same seed draws the same of it whatever else is there.

    Raises:
        DataError: The source cannot be read, or has no row that is a sample.
        TransientError: A remote store or the hub did not answer.
    """
    key = config.draw.seed.to_bytes(4, "big")
    mapping: RowMapping | None = None
    lowest: list[tuple[int, str]] = []  # the highest of them first: (-digest, sample id)
    kept = dict[str, tuple[RawRow, Sample]]()
    n_rows = n_unusable = 0
    for raw in open_rows(config.data):
        n_rows += 1
        if raw.value is not None and mapping is None:
            mapping = choose_mapping(raw.value, config.data)
        sample = None if mapping is None else _sample(raw, mapping, config.data.template)
        if sample is None:
            n_unusable += 1
            continue
        name = sample.sample_id
        digest = hashlib.blake2b(name.encode("ascii"), digest_size=16, key=key).digest()
        entry = -int.from_bytes(digest, "big"), name
        if name in kept or (len(lowest) == config.draw.rows and entry < lowest[0]):
            continue
        kept[name] = replace(raw, table=None), sample
        if len(lowest) < config.draw.rows:
            heappush(lowest, entry)
        else:
            del kept[heappushpop(lowest, entry)[1]]
    if not kept:
        raise DataError(f"none of the {n_rows} rows of {redacted(config.data.source)} is a sample")
    return Drawn(sorted(kept.values(), key=lambda one: one[0].row), n_rows, n_unusable)


def _sample(raw: RawRow, mapping: RowMapping, template: str) -> Sample | None:
    if raw.value is None:
        return None
    try:
        return to_sample(raw.value, raw.row, mapping, template)
    except RejectedRowError:
        return None
