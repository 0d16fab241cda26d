"""Tonight's share: all hosts within `verify_every`, a few each night, the longest unverified first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.verify.bisect import newest_whole
from zborg.planning.verify.share import NIGHT, due

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 2, 30, tzinfo=UTC)
MONTH = 30 * NIGHT


def days_ago(number: float) -> datetime:
    return NOW - timedelta(days=number)


def test_nothing_is_due_without_hosts_or_when_it_is_turned_off() -> None:
    assert due({}, MONTH, NOW) == ()
    assert due({"web1": None}, 0, NOW) == ()


def test_a_hundred_hosts_spread_over_a_month() -> None:
    hosts = {f"web{n}": None for n in range(100)}
    assert len(due(hosts, MONTH, NOW)) == 4
    assert len(due(hosts, MONTH, NOW, days_ago(3))) == 10, "two nights were left out"
    assert len(due(hosts, MONTH, NOW, days_ago(300))) == 100
    assert len(due(hosts, MONTH, NOW, days_ago(0.1))) == 4, (
        "twice in a night is no more at once than a night's"
    )


def test_the_longest_unverified_comes_first_and_never_before_all() -> None:
    last = {"a": days_ago(28), "b": days_ago(31), "c": None, "d": days_ago(40)}
    assert due(last, MONTH, NOW) == ("c",)
    assert due(last, MONTH, NOW, days_ago(10)) == ("c", "d")


def test_a_single_host_is_read_once_a_month_and_not_each_night() -> None:
    assert due({"web1": days_ago(10)}, MONTH, NOW) == ()
    assert due({"web1": days_ago(28.5)}, MONTH, NOW) == ()
    assert due({"web1": days_ago(29.5)}, MONTH, NOW) == ("web1",)


@given(
    ages=st.lists(st.one_of(st.none(), st.floats(0, 30)), min_size=1, max_size=120),
    every=st.integers(1, 40),
)
def test_all_are_read_in_time_whatever_was_read_before(ages: list[float | None], every: int) -> None:
    last = {f"web{n}": None if age is None else days_ago(min(age, every)) for n, age in enumerate(ages)}
    now, before, read = NOW, None, 0
    for number in range(3 * every):
        share = due(last, every * NIGHT, now, before)
        assert len(share) <= ceil(len(last) / every)
        read += len(share)
        last |= dict.fromkeys(share, now)
        before = now if share else before
        now += timedelta(days=1)
        if number >= every:
            assert all(at and now - at <= timedelta(days=every + 1) for at in last.values())
    assert read <= 4 * len(last), "and not much oftener"


@given(st.integers(0, 300), st.integers(0, 300))
def test_bisection_finds_the_newest_whole_one_in_few_looks(count: int, whole: int) -> None:
    whole, looks = min(whole, count), []

    def look(number: int) -> bool:
        looks.append(number)
        return number < whole

    assert newest_whole(count, look) == (whole - 1 if whole else None)
    assert len(looks) <= count.bit_length()
    assert len(set(looks)) == len(looks)
