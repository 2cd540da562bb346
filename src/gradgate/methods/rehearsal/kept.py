"""What a rehearsal has found, as it is kept in the state folder."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gradgate.common.files import own_aside, written_whole
from gradgate.methods.evidence import Rehearsed
from gradgate.methods.rehearsal.flips import FlipsAsked

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What a rehearsal has found.

    Attributes:
        groups: By the id of the group.
        flips: What was said of labels.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    groups: dict[int, Rehearsed]
    flips: FlipsAsked


_KEPT = TypeAdapter(Kept)


def read_kept(path: Path) -> Kept | None:
    """What an earlier rehearsal found; None where there is none, or none that is whole."""
    try:
        return _KEPT.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        logger.warning("the rehearsal in %s is damaged; it is done again", path)
        return None


def write_kept(path: Path, found: Kept) -> None:
    """Keep what was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, own_aside(path)) as part:
        part.write_bytes(_KEPT.dump_json(found))
