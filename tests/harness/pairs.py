"""Fewer of a product: those in which every two values of two axes meet. The others are `deep`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product

import pytest
from _pytest.mark.structures import ParameterSet

Pair = tuple[tuple[int, object], tuple[int, object]]


def pairwise(*axes: Iterable[object]) -> list[ParameterSet]:
    """The whole product in its order, for `parametrize`; the same rows are not `deep` each time.

    Each row taken has the most pairs that no row before it had, the first of several as good ones.
    """
    rows = list(product(*axes))
    missing = {pair for row in rows for pair in _pairs(row)}
    taken = set()
    while missing:
        best = max(rows, key=lambda row: len(missing & _pairs(row)))
        missing -= _pairs(best)
        taken.add(best)
    return [pytest.param(*row, marks=() if row in taken else pytest.mark.deep) for row in rows]


def _pairs(row: tuple[object, ...]) -> set[Pair]:
    return set(combinations(enumerate(row), 2))
