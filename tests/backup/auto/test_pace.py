"""zborg.planning.backup.pace: bounds and rest for any observations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.backup.pace import LOOK, UPPER, Machine, Pace, Seen

pytestmark = pytest.mark.unit

SHARES = st.floats(0, 1)
MACHINES = st.builds(Machine, st.integers(1, 128), st.integers(1, 500))
LOOKS = st.lists(
    st.tuples(st.floats(0.1, 100), SHARES, SHARES | st.none(), st.integers(0, 70), st.booleans()),
    max_size=60,
)


def paced(pace: Pace, look: tuple[float, float, float | None, int, bool], before: Seen) -> tuple[Pace, Seen]:
    passed, idle, memory, ended, full = look
    at_work = pace.allowed if full else pace.allowed // 2
    seen = Seen(
        before.at + passed, at_work, idle, memory, before.ended + ended, before.done + ended * passed % 7
    )
    return pace.after(seen), seen


@given(MACHINES, LOOKS)
def test_it_stays_within_its_bounds_and_says_why_it_changed(
    machine: Machine, looks: list[tuple[float, float, float | None, int, bool]]
) -> None:
    pace = Pace.begin(machine, 0.0)
    assert 1 <= pace.allowed <= machine.most <= min(UPPER, machine.fits)
    seen = pace.since
    for look in looks:
        before, (pace, seen) = pace, paced(pace, look, seen)
        assert 1 <= pace.allowed <= machine.most
        assert pace.allowed <= pace.ceiling or pace.allowed == 1
        if pace.allowed != before.allowed:
            assert pace.why
            assert seen.at - before.since.at >= LOOK
        if pace.allowed > before.allowed:
            assert seen.idle > 0.2
            assert seen.at_work >= before.allowed
            assert seen.memory is None or seen.memory >= 0.08
        if pace.allowed < before.allowed:
            assert pace.ceiling < before.ceiling, "or it could go back and forth for ever"


@given(st.integers(1, 64), st.floats(0.21, 1))
def test_idle_processors_soon_have_more(processors: int, idle: float) -> None:
    pace, at = Pace.begin(Machine(processors, 1000), 0.0), 0.0
    assert pace.allowed == min(UPPER, 4 * processors)
    for _ in range(5):
        at += LOOK
        pace = pace.after(Seen(at, pace.allowed, idle))
    assert pace.allowed >= min(UPPER, 16 * processors)


def begun(processors: int = 2, fits: int = 1000) -> Pace:
    return Pace.begin(Machine(processors, fits), 0.0)


def test_busy_processors_keep_the_number() -> None:
    pace = begun()
    assert pace.after(Seen(1.0, 8, 0.1)) is pace
    assert pace.after(Seen(0.5, 8, 0.9)) is pace, "too soon"
    assert pace.after(Seen(1.0, 7, 0.9)) is pace, "a place is free, and nobody wants it"


def test_short_memory_halves_it_once_and_the_old_number_is_not_tried_again() -> None:
    pace = begun().after(Seen(1.0, 8, 0.9, 0.05))
    assert (pace.allowed, pace.why) == (4, "5% of the memory is available")
    assert pace.after(Seen(2.0, 8, 0.9, 0.05)) is pace, "those that are too many have not ended yet"
    pace = pace.after(Seen(3.0, 4, 0.9, 0.05))
    assert pace.allowed == 2
    pace = pace.after(Seen(4.0, 2, 0.9, 0.05))
    assert pace.allowed == 1
    assert pace.after(Seen(5.0, 1, 0.9, 0.05)) is pace
    at, ended, seen = 5.0, 0, []
    for _ in range(1000):
        at, ended = at + 10, ended + 10
        pace = pace.after(Seen(at, pace.allowed, 0.9, 0.5, ended, float(ended)))
        seen.append(pace.allowed)
    assert max(seen) == 1, "its ceiling: two were too many"


def test_after_a_decrease_it_grows_one_by_one_up_to_below_what_was_too_much() -> None:
    pace, at, ended, seen = begun().after(Seen(1.0, 8, 0.9, 0.05)), 1.0, 0, [4]
    for _ in range(100):
        at, ended = at + 10, ended + 10
        pace = pace.after(Seen(at, pace.allowed, 0.9, 0.5, ended, float(ended * pace.allowed)))
        if pace.allowed != seen[-1]:
            assert at - 1.0 >= 60.0
            seen.append(pace.allowed)
    assert seen == [4, 5, 6, 7]


def measured(rate: Callable[[int], float], until: float = 3000.0) -> tuple[Pace, list[int]]:
    """Always idle, as where another machine or the network is what all wait for; `rate`: done in a second."""
    pace, at, ended, done, seen = begun(), 0.0, 0, 0.0, [8]
    while at < until:
        at, ended, done = at + 5.0, ended + 5, done + 5.0 * rate(pace.allowed)
        pace = pace.after(Seen(at, pace.allowed, 0.9, None, ended, done))
        if pace.allowed != seen[-1]:
            seen.append(pace.allowed)
    return pace, seen


def test_more_than_idle_processors_alone_can_justify_needs_that_more_gets_done() -> None:
    assert measured(lambda allowed: float(allowed))[1][-1] == UPPER
    assert measured(lambda allowed: 10.0)[1] == [8, 12, 18, 27, 40, 60]
    # The first number that is measured is 40; 60 brought no more, and stays without harm.


def test_less_done_by_more_goes_back_to_what_got_more_done() -> None:
    pace, seen = measured(lambda allowed: 10.0 if allowed < 50 else 5.0)
    assert seen == [8, 12, 18, 27, 40, 60, 40]
    assert (pace.ceiling, pace.why) == (40, "60 at once got less done than 40")


def test_little_memory_permits_one() -> None:
    assert Machine(64, 1).most == Machine(64, 1).first == 1
    assert Machine(64, 3).first == 3
