"""zborg.planning.observe.nights: how long a night took is the time in which backups ran."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Entry, Outcome, Status
from zborg.model.results import Trend
from zborg.model.serial.results import from_table
from zborg.planning.observe.nights import nights, trend

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


def told(name: str, begun: int, status: Status, **data: object) -> Entry:
    one = entry(name, begun, 10)
    made = from_table("backup", "host", data)
    return replace(one, outcome=replace(one.outcome, status=status, result=made))


@pytest.mark.parametrize("last", [Status.FAILED, Status.PARTIAL])
def test_a_good_backup_stays_a_nights_word_whatever_fails_after_it(last: Status) -> None:
    (night,) = nights(
        [told("web1", 0, Status.FAILED), told("web1", 60, Status.OK), told("web1", 120, last)], UTC
    )
    assert night.hosts["web1"].status is (last if last.good else Status.OK)


def test_a_trend_is_of_good_backups_alone_and_leaves_out_what_they_do_not_tell() -> None:
    assert trend([]) == Trend(good=0, of=0)
    bare = [told("web1", 0, Status.OK, seconds=True), told("web1", 60, Status.FAILED, original_bytes=9)]
    assert trend(bare) == Trend(good=1, of=2), "true is no number"
    grown = [told("web1", at, Status.OK, seconds=at, original_bytes=100 + at) for at in (0, 10, 50)]
    assert trend(grown) == Trend(
        good=3, of=3, usual_seconds=10, since=grown[0].ended, original_bytes=150, growth=0.5
    )
