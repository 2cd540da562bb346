"""Hidden states of token sequences that several questions want: each is described once."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import islice

import numpy as np

from gradgate.common.arrays import Floats
from gradgate.methods.contract import DescribeModel

MAX_KEPT = 4_096  # sequences; 135 MB of a model of 4,096 dimensions


class Described:
    """Describes sequences as the model does, and keeps what it said."""

    def __init__(self, describe: DescribeModel) -> None:
        """Take the untuned model."""
        self._describe = describe
        self._known: dict[bytes, Floats] = {}  # by digest: prompts may be long

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Floats:
        """See `Scores.describe`: (n, d)."""
        keys = [sha256(np.asarray(ids, np.int64).tobytes()).digest() for ids in sequences]
        new = {key: ids for key, ids in zip(keys, sequences, strict=True) if key not in self._known}
        if not new and keys:
            return np.stack([self._known[key] for key in keys])
        found = dict(zip(new, self._describe(list(new.values())), strict=True))
        states = np.array([found[k] if k in found else self._known[k] for k in keys])
        room = MAX_KEPT - len(self._known)
        self._known.update(islice(found.items(), max(0, room)))
        return states
