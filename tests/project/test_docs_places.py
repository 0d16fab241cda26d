"""Every remedy that sends a reader to a chapter names one that is there."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

_PLACE = re.compile(r'(README|docs/[a-z]+\.md), "?([A-Z][A-Za-z\' ]+)')


def test_every_chapter_that_a_remedy_names_is_there() -> None:
    named = [
        (file, page, chapter.strip())
        for file in sorted((CHECKOUT / "zborg").rglob("*.py"))
        for page, chapter in _PLACE.findall(file.read_text())
    ]
    assert len(named) > 10
    missing = [one for one in named if one[2] not in _chapters(one[1])]
    assert missing == []


def _chapters(page: str) -> set[str]:
    """Headings without their number, and the bold words that begin a paragraph."""
    text = (CHECKOUT / ("README.md" if page == "README" else page)).read_text()
    found = re.findall(r"^#+ (?:\d+\. )?(.+)$|^\*\*([^*]+)\*\*", text, re.MULTILINE)
    return {heading or bold for heading, bold in found}
