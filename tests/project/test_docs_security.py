"""docs/security.md names tests that exist, and every row has one or says that it has none."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

TESTS = {path.name: path for path in (CHECKOUT / "tests").rglob("test_*.py")}
PAGE = CHECKOUT / "docs" / "security.md"
SUBJECTS = range(1, 14)


def rows() -> list[str]:
    """Of the tables whose last column names tests."""
    tables = re.split(r"\n\n", PAGE.read_text())
    named = [table.strip().splitlines() for table in tables if re.search(r"\| tests \|\n", table)]
    return [row for table in named for row in table[2:]]


def test_every_row_names_tests_that_exist_or_says_that_there_is_none() -> None:
    assert len(rows()) > len(SUBJECTS)
    for row in rows():
        assert row.count(" | ") >= 2, row
        named = re.findall(r"`(\w+\.py)::(\w+)`", row)
        assert named or "not yet held by a test" in row, row
        for file, test in named:
            assert re.search(rf"^def {test}\(", TESTS[file].read_text(), re.MULTILINE), f"{file}::{test}"


def test_every_subject_has_its_row() -> None:
    numbers = {int(found[1]) for row in rows() if (found := re.match(r"\| (\d+) \|", row))}
    assert numbers == set(SUBJECTS)


def test_the_trust_table_of_the_design_is_this_one() -> None:
    """One of them would otherwise be forgotten."""
    design = (CHECKOUT / "docs" / "design.md").read_text()
    who = [row.split(" | ")[0].removeprefix("| ") for row in rows() if not re.match(r"\| \d+ \|", row)]
    for one in who:
        assert f"| {one} |" in design, one
