"""zborg.planning.observe.nights: how long a night took is the time in which backups ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Entry, Outcome, Status
from zborg.planning.observe.nights import nights

pytestmark = pytest.mark.unit

DAY = datetime(2026, 2, 12, tzinfo=UTC)


def entry(name: str, begun: int, seconds: int) -> Entry:
    at = DAY + timedelta(seconds=begun)
    outcome = Outcome("host", name, Status.OK)
    return Entry(at, at + timedelta(seconds=seconds), "vault", f"run{begun}", "backup", outcome)


def took(*entries: Entry) -> float:
    (night,) = nights(entries, UTC)
    return night.seconds


def test_the_day_between_two_runs_is_not_what_they_took() -> None:
    """A night of two minutes, and somebody who backed one host up eighteen minutes later."""
    assert took(entry("web1", 0, 120), entry("web2", 0, 60), entry("web1", 1200, 30)) == 150


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-5, 120)), min_size=1, max_size=8))
def test_each_second_counts_once(some: list[tuple[int, int]]) -> None:
    by_hand = {second for begun, seconds in some for second in range(begun, begun + seconds)}
    assert took(*(entry(f"h{n}", *one) for n, one in enumerate(some))) == len(by_hand)
