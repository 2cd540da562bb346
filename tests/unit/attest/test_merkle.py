"""The tree is that of RFC 6962, and takes no more memory than its height."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.attest.merkle import MerkleTree

# Of Certificate Transparency's own tests.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def tree_of(leaves: list[bytes]) -> MerkleTree:
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)  # the largest power of two below n
    both = by_definition(leaves[:k]) + by_definition(leaves[k:])
    return hashlib.sha256(b"\x01" + both).digest()


@pytest.mark.parametrize("n", ROOTS)
def test_known_roots(n: int) -> None:
    assert tree_of(LEAVES[:n]).root == ROOTS[n]


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_any_number_of_leaves(leaves: list[bytes]) -> None:
    assert tree_of(leaves).root == by_definition(leaves).hex()


def test_memory_is_that_of_the_height() -> None:
    tree = tree_of([b"leaf"] * 100_000)
    assert tree.n == 100_000
    assert len(tree._peaks) <= 17
