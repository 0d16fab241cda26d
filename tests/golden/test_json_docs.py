"""docs/json.md has the tables that the classes of results make, and each of their fields says what it is."""

from __future__ import annotations

import pytest

from tests.harness.generated.json_docs import PAGE, page
from zborg.model.serial.results import classes

pytestmark = pytest.mark.unit


def test_the_page_is_what_the_classes_make_of_it() -> None:
    """Else: scripts/json-docs."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_every_field_says_what_it_is() -> None:
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(("| `", "| each"))
    ]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_no_two_classes_of_a_kind_are_told_apart_by_nothing() -> None:
    """The first whose required fields are there is taken: of a later one they are no subset of them."""
    for place, candidates in classes().items():
        needed = [cls._required for cls in candidates]
        for number, one in enumerate(needed):
            assert not [before for before in needed[:number] if before <= one], place
