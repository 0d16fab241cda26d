"""What an outcome knows is read by its class: the keys of the JSON form are the codec's alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zborg

pytestmark = pytest.mark.unit

SOURCE = Path(zborg.__file__).parent
READS_THE_JSON_FORM = {
    "model/report.py",
    "model/serial/report.py",
    "reporting/text.py",
}  # to print it as it stands
SELECTORS = {"streams.py", "process.py"}  # `data` of a selectors.SelectorKey


def data_read_in(path: Path) -> Iterator[int]:
    """Lines where an attribute `data` is read."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "data":
            yield node.lineno


def test_nobody_reads_a_result_by_a_key() -> None:
    found = {
        str(path.relative_to(SOURCE)): lines
        for path in SOURCE.rglob("*.py")
        if (lines := list(data_read_in(path)))
    }
    assert found.keys() - READS_THE_JSON_FORM - SELECTORS == set()
    assert found.keys() >= {"model/serial/report.py"}, "the search finds what is there"
