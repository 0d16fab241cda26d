"""docs/decisions/: each choice has its date and its alternative, and what the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

DOCS = CHECKOUT / "docs"
PAGES = sorted((DOCS / "decisions").glob("*.md"))
AREAS = [page for page in PAGES if page.name != "README.md"]


def test_each_page_is_in_the_list_and_each_of_the_list_is_a_page() -> None:
    listed = re.findall(
        r"^\| \[[\w-]+\]\(([\w-]+\.md)\) \|", (DOCS / "decisions/README.md").read_text(), re.M
    )
    assert sorted(listed) == [page.name for page in AREAS]


@pytest.mark.parametrize("page", AREAS, ids=lambda page: page.stem)
def test_each_decision_has_its_date_and_its_alternative(page: Path) -> None:
    first, *decisions = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    assert re.match(r"# .+\n\n\w", first), "a title, and a sentence on what the page is about"
    assert decisions
    for decision in decisions:
        assert re.match(r".+\n\n\*20\d\d-\d\d-\d\d\*\n\n", decision), decision
        assert re.search(r"^\*\*Not(:\*\*|\*\* recorded:) \S", decision, re.MULTILINE), decision


@pytest.mark.parametrize("page", [*PAGES, DOCS / "design.md", DOCS / "limits.md"], ids=lambda page: page.stem)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:\.\./)?(?:[\w.-]+/)*[\w-]+\.(?:py|sh|md))`", text) + re.findall(
        r"\]\(([^):#]+)", text
    )
    places = [page.parent, CHECKOUT, CHECKOUT / "zborg", CHECKOUT / "tests/harness/scenes"]
    assert [one for one in named if not any((place / one).exists() for place in places)] == []
