"""What keeps the code easy to find: short modules, small packages, tests that stand alone."""

from __future__ import annotations

import ast
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.pairs import pairwise

pytestmark = pytest.mark.unit

LINES = 400  # of a test module
MODULES = 12  # of a package, without its __init__
MODULE_FILES = sorted(path for top in ("zborg", "tests") for path in (CHECKOUT / top).rglob("*.py"))
TEST_FILES = [path for path in MODULE_FILES if path.name.startswith("test_")]


def place(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def imported(path: Path) -> set[str]:
    """Every module that is named by an import anywhere in the file, and what is imported from it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{one.name}" for one in node.names} | {str(node.module)}
    return found


def test_no_test_module_is_longer_than_400_lines() -> None:
    assert TEST_FILES
    lengths = {place(path): len(path.read_text().splitlines()) for path in TEST_FILES}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_no_module_imports_a_test_module() -> None:
    """Not even a helper: what two modules use is in tests/harness."""
    modules = {place(path).removesuffix(".py").replace("/", ".") for path in TEST_FILES}
    found = {place(path): imported(path) & modules for path in MODULE_FILES}
    assert {name: names for name, names in found.items() if names} == {}


def test_no_package_has_more_than_twelve_modules() -> None:
    counted = Counter(place(path.parent) for path in MODULE_FILES if path.name != "__init__.py")
    assert {name: number for name, number in counted.items() if number > MODULES} == {}


def test_no_two_test_modules_have_one_name() -> None:
    """docs/failures.md and docs/security.md name tests by the last part of their module's path."""
    counted = Counter(path.name for path in TEST_FILES)
    assert [name for name, number in counted.items() if number > 1] == []


def test_of_a_product_every_pair_of_values_is_tried_and_all_the_rest_is_deep() -> None:
    axes = (["1.2", "1.4"], ["a", "b", "c"], range(6))
    rows = pairwise(*axes)
    assert [row.values for row in rows] == list(product(*axes))
    ordinary = [row.values for row in rows if not row.marks]
    assert all({mark.name for mark in row.marks} <= {"deep"} for row in rows)
    for one, other in combinations(range(3), 2):
        assert {(row[one], row[other]) for row in ordinary} == set(product(axes[one], axes[other]))
    assert len(ordinary) == 18, "as many as the two longest axes have pairs"
