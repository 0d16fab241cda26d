"""The picture of the house in docs/design.md is what the imports are now, and fits its page."""

from __future__ import annotations

import pytest

from tests.harness.generated.house import PAGE, WIDTH, draw, drawn_into

pytestmark = pytest.mark.unit


def test_the_picture_is_current() -> None:
    assert PAGE.read_text() == drawn_into(PAGE.read_text()), "scripts/house draws it again"


def test_it_fits_the_page_and_every_floor_has_its_purpose() -> None:
    lines = draw().splitlines()
    assert max(map(len, lines)) <= WIDTH
    floors = [line.split("│")[1].split() for line in lines if "│" in line]
    assert len(floors) > 10
    assert [floor for floor in floors if len(floor) < 4] == []


def test_steps_are_drawn_from_the_top_down() -> None:
    """As import-linter holds: a step stands above all that it uses."""
    table = draw().split("its step uses\n")[1].split("\n\n")[0].splitlines()
    width = len(table[0]) - len(table[0].lstrip())
    table = [line for line in table if not line[width:].startswith(" ")]  # without the rest of a long line
    rows = {line.split()[0]: [one for one in line.split()[5:] if one != "-"] for line in table}
    order = list(rows)
    assert rows["rotate"] == ["compact", "inventory", "offsite", "restore"]
    for user, used in rows.items():
        assert all(order.index(user) < order.index(name) for name in used), user


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        drawn_into("# A page\n")
