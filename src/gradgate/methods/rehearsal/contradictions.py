"""What models that were trained on halves of a trusted reference say of it, and of rows."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gradgate.common.files import own_aside, written_whole
from gradgate.data.tokens import Tokens
from gradgate.methods.rehearsal.predicting import Contradicted

logger = logging.getLogger(__name__)

_NAMES = ("nats", "place", "token", "said")


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Where samples are contradicted by a model that has not seen them.

    Attributes:
        reference: Samples of the reference. (m,)
        exchanged: The same prompts, each with the target of another one. (m,)
        rows: Of the data. (n,)
    """

    reference: Contradicted
    exchanged: Contradicted
    rows: Contradicted

    @classmethod
    def none(cls, m: int, n: int) -> "Contradictions":
        """Of m samples and n rows that were not predicted."""
        return cls(Contradicted.none(m), Contradicted.none(m), Contradicted.none(n))

    def is_whole(self, m: int, n: int) -> bool:
        """Whether all is known of m samples and n rows."""
        trusted = self.reference.is_whole(m) and self.exchanged.is_whole(m)
        return trusted and self.rows.is_whole(n)

    @classmethod
    def read(cls, path: Path, m: int, n: int) -> "Contradictions | None":
        """What an earlier run found; None where there is none, or none that is whole."""
        try:
            with np.load(path, allow_pickle=False) as there:
                found = cls(
                    **{
                        part.name: Contradicted(*(there[f"{part.name}_{name}"] for name in _NAMES))
                        for part in fields(cls)
                    }
                )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, BadZipFile, EOFError, zlib.error):
            found = cls.none(0, 0)
        if not found.is_whole(m, n):
            logger.warning("what the reference taught, in %s, is damaged; it is asked again", path)
            return None
        return found

    def write(self, path: Path) -> None:
        """For the next run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{part.name}_{name}": getattr(getattr(self, part.name), name)
            for part in fields(self)
            for name in _NAMES
        }
        with written_whole(path, own_aside(path)) as aside, aside.open("wb") as file:
            np.savez_compressed(file, **arrays)


def exchanged(samples: Sequence[Tokens]) -> list[Tokens]:
    """Each sample with the last target of the next one whose last target differs.

    Where all have the same, each keeps its own.
    """
    parted = [_parted(sample) for sample in samples]
    found = []
    for i, (before, own) in enumerate(parted):
        behind = (parted[(i + k) % len(parted)][1] for k in range(1, len(parted)))
        target = next((one for one in behind if one != own), own)
        found.append(Tokens([*before, *target], [False] * len(before) + [True] * len(target)))
    return found


def _parted(sample: Tokens) -> tuple[list[int], list[int]]:
    """The tokens before the last target, and its own."""
    places = np.flatnonzero(sample.is_target)
    first = int(places[np.flatnonzero(np.diff(places, prepend=-2) != 1)[-1]])
    return sample.input_ids[:first], sample.input_ids[first : int(places[-1]) + 1]
