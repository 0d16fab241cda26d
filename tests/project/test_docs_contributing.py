"""CONTRIBUTING.md names files that are there, and its examples still fit them."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

PAGE = (CHECKOUT / "CONTRIBUTING.md").read_text()
BEGUN = {"zborg/steps/where.py", "zborg/cli/where.py", "zborg/notify/by_file.py"}  # by the examples


def diffs() -> dict[str, list[str]]:
    """By file the lines of the examples."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"^```diff\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for part in block.split("--- ")[1:]:
            head, *lines = part.splitlines()
            found.setdefault(re.split(r"[ ,]", head)[0], []).extend(lines)
    return found


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|md|toml))[:`]", PAGE)
    named = [one for one in named if "NAME" not in one]
    assert len(named) > 15
    missing = [
        one for one in named if not any((CHECKOUT / top / one).exists() for top in ("", "zborg", "tests"))
    ]
    assert missing == []


def test_every_file_of_an_example_is_there_or_begun_by_it() -> None:
    assert len(diffs()) > 10
    assert {one for one in diffs() if not (CHECKOUT / one).exists()} == BEGUN


def test_lines_that_an_example_takes_away_are_there_and_those_it_adds_are_not() -> None:
    for file in set(diffs()) - BEGUN:
        lines = (CHECKOUT / file).read_text().splitlines()
        assert [one for one in diffs()[file] if one.startswith("-") and one[1:] not in lines] == [], file
        # A single word, such as a field's, may stand elsewhere in the file.
        assert [
            one for one in diffs()[file] if one.startswith("+") and one[1:] in lines and len(one) > 40
        ] == []
