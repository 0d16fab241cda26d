"""zborg.planning.backup.places: who has a place, and a simulated fleet by a clock of its own."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.backup import places
from zborg.planning.backup.places import Places, patience, window_left

pytestmark = pytest.mark.unit

NAMES = st.text("abcdef", min_size=1, max_size=2)
SECONDS = st.floats(0, 1e5)
FLEETS = st.builds(Places, st.integers(1, 8), st.dictionaries(NAMES, SECONDS))


@given(FLEETS, st.dictionaries(NAMES, SECONDS, max_size=30))
def test_never_more_hosts_than_places_but_for_the_late_ones(fleet: Places, at_work: dict[str, float]) -> None:
    free, late = fleet.free(at_work), fleet.late(at_work)
    assert free >= 0
    if free:
        assert len(at_work) - len(late) + free <= fleet.parallel
        assert len(at_work) + free <= 3 * fleet.parallel
    for name in late:
        assert at_work[name] > 3 * fleet.usual.get(name, 0)
        assert at_work[name] > 600


@given(FLEETS, st.dictionaries(NAMES, SECONDS, max_size=8), st.floats(0, 1e4))
def test_time_only_ever_frees_places(fleet: Places, at_work: dict[str, float], later: float) -> None:
    after = {name: seconds + later for name, seconds in at_work.items()}
    assert fleet.free(after) >= fleet.free(at_work)
    assert set(fleet.late(after)) >= set(fleet.late(at_work))


@given(FLEETS, st.dictionaries(NAMES, SECONDS, min_size=1, max_size=8))
def test_nothing_changes_before_the_next_look_and_something_does_after_it(
    fleet: Places, at_work: dict[str, float]
) -> None:
    left = fleet.next_look(at_work)
    if left == inf:
        assert len(fleet.late(at_work)) == len(at_work)
        return
    before = {name: seconds + left * 0.999 for name, seconds in at_work.items()}
    after = {name: seconds + left + 0.01 for name, seconds in at_work.items()}
    assert fleet.late(before) == fleet.late(at_work)
    assert len(fleet.late(after)) > len(fleet.late(at_work))


def test_a_usual_time_is_tripled_and_never_short() -> None:
    assert (patience(3600), patience(5), patience(None)) == (10_800, 600, 3600)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_window_ends_once_and_none_never(window: float, since: float) -> None:
    assert window_left(0, since) == inf
    if window:
        assert window_left(window, since) == max(0, window - since)


# --- a fleet by a clock of its own --------------------------------------------------------------------


def simulate(
    takes: dict[str, float], usual: dict[str, float], parallel: int, end: float = 86400
) -> tuple[dict[str, float], dict[str, float], int]:
    """Each host's start and end, and the most that were at work at once; as steps.backup.workers does it."""
    fleet, now, most = Places(parallel, usual), 0.0, 0
    waiting, started, ended = list(takes), dict[str, float](), dict[str, float]()
    while now < end and (waiting or len(ended) < len(started)):
        at_work = {name: now - at for name, at in started.items() if name not in ended}
        for _ in range(min(fleet.free(at_work), len(waiting))):
            name = waiting.pop(0)
            started[name], at_work[name] = now, 0.0
        most = max(most, len(at_work))
        ends = [started[name] + takes[name] - now for name in at_work]
        looks = [fleet.next_look(at_work) + 0.001] if waiting else []
        now += min([*ends, *looks, end - now])
        ended |= {n: now for n in at_work if started[n] + takes[n] <= now + 1e-9}
    return started, ended, most


def test_four_hanging_hosts_do_not_keep_the_fifth_waiting() -> None:
    names = [f"h{n}" for n in range(20)]
    hanging = dict.fromkeys(names[:8], inf)
    takes = hanging | dict.fromkeys(names[8:], 120.0)
    started, ended, most = simulate(takes, dict.fromkeys(names, 120.0), 4)
    assert set(ended) == set(names[8:])
    assert max(ended.values()) < 2 * places._LEAST + 4 * 120
    assert most <= 12


def test_a_fleet_whose_storage_is_slow_is_not_let_loose_on_it() -> None:
    """Every host takes ten times as long as usual: not all of them at once all the same."""
    names = [f"h{n}" for n in range(60)]
    _, ended, most = simulate(dict.fromkeys(names, 6000.0), dict.fromkeys(names, 600.0), 4, end=1e7)
    assert len(ended) == 60
    assert most == 12


@given(
    st.lists(st.tuples(st.floats(1, 5000), st.floats(0.2, 3)), min_size=1, max_size=15),
    st.integers(1, 4),
)
def test_while_all_take_about_what_they_do_parallel_holds(
    hosts: list[tuple[float, float]], parallel: int
) -> None:
    takes = {f"h{n}": seconds * factor for n, (seconds, factor) in enumerate(hosts)}
    usual = {f"h{n}": seconds for n, (seconds, _) in enumerate(hosts)}
    _, ended, most = simulate(takes, usual, parallel, end=1e9)
    assert len(ended) == len(takes)
    assert most <= parallel


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 4))
def test_every_host_that_does_not_hang_ends_unless_too_many_do(hang: list[bool], parallel: int) -> None:
    takes = {f"h{n}": inf if one else 60.0 for n, one in enumerate(hang)}
    started, ended, _ = simulate(takes, dict.fromkeys(takes, 60.0), parallel, end=1e6)
    if sum(hang) < 3 * parallel:
        assert {name for name, seconds in takes.items() if seconds < inf} == set(ended)
        assert set(started) == set(takes)
