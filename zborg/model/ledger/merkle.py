"""The Merkle tree of RFC 6962, section 2.1: hashes of leaves and nodes, roots, and proofs.

A tree of n leaves is split at the largest power of two below n. Hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Of one entry."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed of a tree to add leaves to it: the root of each full subtree, the largest first.

    There is one for each bit that is set in `size`. Raises ValueError when that is not so.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or self.size.bit_count() != len(self.nodes):
            raise ValueError(f"{len(self.nodes)} nodes do not make a tree of {self.size} leaves")

    def extended(self, leaves: Iterable[bytes]) -> Frontier:
        """With these leaves' hashes added."""
        size, nodes = self.size, list(self.nodes)
        for leaf in leaves:
            nodes.append(leaf)
            size += 1
            bits = size
            while not bits & 1:  # two subtrees of one size became one
                right = nodes.pop()
                nodes.append(node_hash(nodes.pop(), right))
                bits >>= 1
        return Frontier(size, tuple(nodes))

    @property
    def root(self) -> bytes:
        """The root of the tree as it is now."""
        if not self.nodes:
            return EMPTY
        *left, root = self.nodes
        for node in reversed(left):
            root = node_hash(node, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaves' hashes."""
    return Frontier().extended(leaves).root


def inclusion(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path (2.1.1) of the leaf at `index`, its sibling first. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} in a tree of {len(leaves)}")
    if len(leaves) == 1:
        return ()
    half = _split(len(leaves))
    left, right = leaves[:half], leaves[half:]
    if index < half:
        return (*inclusion(left, index), root_of(right))
    return (*inclusion(right, index - half), root_of(left))


def consistency(leaves: Sequence[bytes], first: int) -> tuple[bytes, ...]:
    """The proof (2.1.2) that the tree of the `first` leaves is this one's beginning. Raises IndexError."""
    if not 0 < first <= len(leaves):
        raise IndexError(f"no tree of {first} leaves is the beginning of one of {len(leaves)}")
    return _consistency(leaves, first, whole=True)


def _consistency(leaves: Sequence[bytes], first: int, *, whole: bool) -> tuple[bytes, ...]:
    """`whole`: the verifier has the root of the first tree already, and it is a subtree of this one."""
    if first == len(leaves):
        return () if whole else (root_of(leaves),)
    half = _split(len(leaves))
    if first <= half:
        return (*_consistency(leaves[:half], first, whole=whole), root_of(leaves[half:]))
    return (*_consistency(leaves[half:], first - half, whole=False), root_of(leaves[:half]))


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
