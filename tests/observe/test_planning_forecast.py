"""When a pool would be full, by days and bytes that can be counted by hand."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.observe.forecast import forecast

pytestmark = pytest.mark.unit

DAY = date(2026, 2, 1)


def days(held: list[float]) -> list[tuple[date, float]]:
    return [(DAY + timedelta(days=n), one) for n, one in enumerate(held)]


def test_six_days_tell_nothing_and_seven_do() -> None:
    assert forecast(days([1.0] * 6), 10, 30) is None
    assert forecast(days([1.0] * 7), 10, 30) is not None


def test_a_day_that_is_ninety_days_old_does_not_count() -> None:
    recent = days([1.0] * 6)
    assert forecast([(recent[-1][0] - timedelta(days=90), 1.0), *recent], 10, 30) is None
    assert forecast([(recent[-1][0] - timedelta(days=89), 1.0), *recent], 10, 30) is not None


def test_a_pool_that_grows_by_one_is_full_when_the_rest_is_used_up() -> None:
    found = forecast(days([float(n) for n in range(10)]), 20, 30)
    assert found is not None
    last = DAY + timedelta(days=9)
    assert found.line == ((last, 9.0), (last + timedelta(days=11), 20.0))
    assert found.full == last + timedelta(days=11)


def test_the_line_goes_no_further_than_asked() -> None:
    found = forecast(days([float(n) for n in range(10)]), 20, 5)
    assert found is not None and found.line[-1] == (DAY + timedelta(days=14), 14.0)


@pytest.mark.parametrize("held", [[5.0] * 10, [float(20 - n) for n in range(10)]])
def test_a_pool_that_does_not_grow_is_never_full(held: list[float]) -> None:
    found = forecast(days(held), 20, 30)
    assert found is not None and found.full is None


def test_what_takes_more_than_five_years_is_not_foretold() -> None:
    found = forecast(days([float(n) for n in range(10)]), 10_000, 30)
    assert found is not None and found.full is None


def test_a_pool_that_is_full_is_full_on_its_last_day() -> None:
    found = forecast(days([20.0] * 10), 20, 30)
    assert found is not None and found.full == DAY + timedelta(days=9)
    assert found.line == ((DAY + timedelta(days=9), 20.0),)


def test_a_deletion_that_was_undone_turns_nothing() -> None:
    held = [float(n) for n in range(21)]
    odd = [*held]
    odd[10] = 0.0
    assert forecast(days(odd), 100, 30) == forecast(days(held), 100, 30)


@given(st.lists(st.floats(0, 1000), min_size=7, max_size=40), st.integers(0, 400))
def test_no_point_of_the_line_is_below_nothing_or_above_the_pool(held: list[float], ahead: int) -> None:
    found = forecast(days(held), 1000, ahead)
    assert found is not None
    assert all(0 <= bytes_ <= 1000 for _, bytes_ in found.line)
    assert found.full is None or found.full >= found.line[0][0]
