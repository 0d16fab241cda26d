"""What the report's page says of compactions."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.harness.builders.reports import report
from tests.harness.builders.rows import NOON, told
from tests.harness.worlds.report_page import EVIL
from zborg.model import Outcome, Status
from zborg.model.figures import CompactionFigures
from zborg.planning.observe.figures import figures
from zborg.reporting.report_html import html

pytestmark = pytest.mark.unit


def test_each_host_has_what_was_freed_what_it_could_give_back_and_how_long_it_is_held() -> None:
    known = (
        CompactionFigures("web1", NOON, 5 << 20, 0, 1, NOON),
        CompactionFigures(EVIL, None, 0, 3 << 20, 0, None),
    )
    found = figures(replace(told(1), compactions=known))
    page = html(found, report(Outcome("step", "compact", Status.OK, "freed 5.0 MiB")))
    assert "<p>freed 5.0 MiB.</p>" in page and EVIL not in page
    (table,) = re.findall(r'<table id="compactions-table">.*?</table>', page, re.DOTALL)
    first, second = re.findall(r"<tr><th scope=.row.>.*</tr>", table)
    assert "5.0 MiB" in first and first.count("<time") == 2
    assert "3.0 MiB" in second and "<time" not in second


def test_before_there_was_any_it_has_no_such_part() -> None:
    assert "compactions-table" not in html(figures(told(1)), report())
