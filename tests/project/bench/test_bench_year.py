"""The simulated year is one of a server that is up to date, at whatever time of the day it is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.bench.year import Year

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("minutes", range(0, 24 * 60, 30))
def test_its_last_night_is_over_and_not_overdue(minutes: int) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    reports = list(Year(hosts=4, nights=3, now=now).reports())
    ends = [one.finished for one in reports if one.command == "replicate"]
    assert now - timedelta(hours=26) < ends[-1] <= now
    assert all(timedelta(hours=20) < later - one < timedelta(hours=28) for one, later in pairwise(ends))
