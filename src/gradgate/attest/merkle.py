"""A Merkle tree over a stream of leaves, as RFC 6962 (2.1) defines it, in O(log n) memory."""

import hashlib

_LEAF, _NODE = b"\x00", b"\x01"  # no leaf has the hash of a node


class MerkleTree:
    """Takes leaves one by one; the order counts, and so does each copy of a leaf.

    Attributes:
        n: Leaves so far.
    """

    def __init__(self) -> None:
        """Begin without leaves."""
        self.n = 0
        self._peaks: list[bytes] = []  # roots of the full subtrees, the largest first

    def add(self, content: bytes) -> None:
        """Append a leaf."""
        found = hashlib.sha256(_LEAF + content).digest()
        full = self.n
        while full & 1:
            found = hashlib.sha256(_NODE + self._peaks.pop() + found).digest()
            full >>= 1
        self._peaks.append(found)
        self.n += 1

    @property
    def root(self) -> str:
        """Its hash in hex; without leaves that of nothing."""
        if not self._peaks:
            return hashlib.sha256().hexdigest()
        *others, found = self._peaks
        for peak in reversed(others):
            found = hashlib.sha256(_NODE + peak + found).digest()
        return found.hex()
