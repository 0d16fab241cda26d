"""docs/glossary.md: one sentence for each word, in order, and README and CONTRIBUTING lead to it."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

ROWS = dict(
    re.findall(r"^\| ([a-z][a-z -]+) \| (.+) \|$", (CHECKOUT / "docs/glossary.md").read_text(), re.MULTILINE)
)


def test_words_are_in_order_with_one_sentence_each() -> None:
    words = list(ROWS)[1:]
    assert len(words) > 40
    assert words == sorted(set(words))
    assert [word for word in words if not re.fullmatch(r"[^.]*(\.[^ ][^.]*)*\.", ROWS[word])] == []


def test_each_word_in_italics_has_a_row() -> None:
    named = {word for text in ROWS.values() for word in re.findall(r"(?<!\*)\*([a-z -]+)\*", text)}
    assert len(named) > 10
    assert {
        word for word in named if not {word, word.removesuffix("s"), f"{word[:-3]}y"} & ROWS.keys()
    } == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/design.md"])
def test_it_is_found(page: str) -> None:
    assert "glossary.md" in (CHECKOUT / page).read_text()
