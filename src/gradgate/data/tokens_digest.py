"""One digest over the tokens of many samples: what is trained on, in its order."""

import hashlib

import numpy as np

from gradgate.common.arrays import Marks


class TokensDigest:
    """Takes samples one by one; `hexdigest` is SHA-256 over ids and loss masks of all of them."""

    def __init__(self) -> None:
        """Begin without samples."""
        self._digest = hashlib.sha256()

    def add(self, input_ids: "np.ndarray[tuple[int], np.dtype[np.int32]]", mask: Marks) -> None:
        """Append a sample: token ids (n,), and whether the loss counts each (n,)."""
        # The length first: no other cut of the same numbers has the same digest.
        self._digest.update(len(input_ids).to_bytes(8, "little"))
        self._digest.update(input_ids.astype("<i4").tobytes())
        self._digest.update(mask.tobytes())

    def hexdigest(self) -> str:
        """Of what was added so far."""
        return self._digest.hexdigest()
