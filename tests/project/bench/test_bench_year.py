"""The simulated year is one of a server that is up to date, at whatever time of the day it is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bench.year import Year, fill
from zborg.state.history import History
from zborg.state.runs import Runs


@pytest.mark.unit
@pytest.mark.parametrize("minutes", range(0, 24 * 60, 30))
def test_its_last_night_is_over_and_not_overdue(minutes: int) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    reports = list(Year(hosts=4, nights=3, now=now).reports())
    ends = [one.finished for one in reports if one.command == "replicate"]
    assert now - timedelta(hours=26) < ends[-1] <= now
    assert all(timedelta(hours=20) < later - one < timedelta(hours=28) for one, later in pairwise(ends))


def test_by_cron_each_host_has_a_report_and_one_was_never_good(tmp_path: Path) -> None:
    year = Year(hosts=3, nights=4, never=1, cron=True)
    fill(tmp_path, year)
    runs = Runs(tmp_path / "state" / "runs")
    reports = list(runs.newest_first("backup"))
    assert [len(one.outcomes) for one in reports] == [1] * 12
    assert not any(one.outcomes[0].status.good for one in reports if one.outcomes[0].subject == "host00")
    assert runs.identities() == History(tmp_path / "state" / "history.db").recorded()
