"""docs/failures.md names tests that exist, and each numbered row once, in order."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

TESTS = {path.name: path for path in (CHECKOUT / "tests").rglob("test_*.py")}
PAGE = CHECKOUT / "docs" / "failures.md"


def numbers(prefix: str) -> list[int]:
    return [int(found) for found in re.findall(rf"^\| {prefix}(\d+) \|", PAGE.read_text(), re.MULTILINE)]


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| P?\d+ \|", line)]
    assert rows
    assert [row for row in rows if not re.search(r"`\w+\.py::\w+`", row)] == []


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(\w+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 200
    for file, test in named:
        assert re.search(rf"^def {test}\(", TESTS[file].read_text(), re.MULTILINE), f"{file}::{test}"


def test_rows_stand_once_and_in_order() -> None:
    for prefix in ("", "P"):
        found = numbers(prefix)
        assert found and found == sorted(set(found))
