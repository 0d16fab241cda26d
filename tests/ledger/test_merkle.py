"""The tree of the ledger against a second implementation that was written from the RFCs alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.audit import transparency
from zborg.model.ledger.merkle import EMPTY, Frontier, consistency, inclusion, leaf_hash, root_of

pytestmark = pytest.mark.unit
ENTRIES = [f"entry {number}".encode() for number in range(70)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


@pytest.mark.parametrize("size", range(len(ENTRIES) + 1))
def test_every_size_has_the_root_of_the_rfc(size: int) -> None:
    assert root_of(LEAVES[:size]) == transparency.tree_hash(ENTRIES[:size])


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root == EMPTY == transparency.tree_hash([])


@given(st.lists(st.binary(max_size=40), max_size=60), st.lists(st.integers(0, 20), max_size=6))
def test_a_tree_that_grows_in_steps_has_the_same_root(entries: list[bytes], steps: list[int]) -> None:
    tree, at = Frontier(), 0
    for step in (*steps, len(entries)):
        tree = tree.extended(leaf_hash(entry) for entry in entries[at : at + step])
        at = min(at + step, len(entries))
        assert (tree.size, tree.root) == (at, transparency.tree_hash(entries[:at]))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 70])
def test_each_leaf_is_shown_to_be_in_the_tree(size: int) -> None:
    root = root_of(LEAVES[:size])
    for index in range(size):
        path = inclusion(LEAVES[:size], index)
        assert transparency.includes(root, size, ENTRIES[index], index, path)
        assert not transparency.includes(root, size, b"another", index, path)
        if size > 1:
            assert not transparency.includes(root, size, ENTRIES[index], (index + 1) % size, path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 70])
def test_each_tree_is_shown_to_be_the_beginning_of_a_later_one(size: int) -> None:
    root = root_of(LEAVES[:size])
    for first in range(1, size + 1):
        old, proof = root_of(LEAVES[:first]), consistency(LEAVES[:size], first)
        assert transparency.continues(old, first, root, size, proof)
        assert not transparency.continues(leaf_hash(b"another"), first, root, size, proof)


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError, match="no leaf"):
            inclusion(LEAVES[:3], index)
    for first in (0, 4):
        with pytest.raises(IndexError, match="no tree"):
            consistency(LEAVES[:3], first)


@pytest.mark.parametrize(("size", "nodes"), [(1, 0), (3, 1), (4, 2), (-1, 0)])
def test_a_frontier_has_a_node_for_each_full_subtree(size: int, nodes: int) -> None:
    with pytest.raises(ValueError, match="do not make a tree"):
        Frontier(size, tuple(LEAVES[:nodes]))
