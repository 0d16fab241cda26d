"""zborg.planning.backup.schedule and what steps.backup.earlier_runs reads for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.builders.reports import result
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.text.units import moment
from zborg.planning.backup import schedule
from zborg.state.runs import Runs, new_run
from zborg.steps.backup.earlier_runs import look_back

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 3, 0, tzinfo=UTC)
WEEK = 7 * 86400
NAMES = st.text("abc", min_size=1, max_size=2)
SECONDS = st.floats(0, 1e5)


# --- the order ----------------------------------------------------------------------------------------


def test_the_longest_goes_first_and_who_has_no_history_before_it() -> None:
    expected = {"short": 10.0, "long": 900.0, "same": 10.0}
    given_order = ["short", "new", "same", "long", "other"]
    assert schedule.longest_first(given_order, expected) == ("new", "other", "long", "short", "same")


@given(st.lists(NAMES, unique=True), st.dictionaries(NAMES, SECONDS))
def test_nobody_is_lost_and_nobody_comes_before_a_longer_one(
    names: list[str], past: dict[str, float]
) -> None:
    ordered = schedule.longest_first(names, past)
    assert sorted(ordered) == sorted(names)
    known = [past[name] for name in ordered if name in past]
    assert known == sorted(known, reverse=True)
    assert all(name in past for name in ordered[len(names) - len(known) :])


def test_one_odd_night_does_not_move_what_is_typical() -> None:
    assert schedule.typical([60, 61, 59, 40_000, 62]) == 61


# --- what is left -------------------------------------------------------------------------------------


def by_hand(running: list[float], waiting: list[float], parallel: int) -> float:
    """Second by second, as a fleet does it."""
    slots, queue, at = [max(0, round(one)) for one in running], [round(one) for one in waiting], 0
    while slots or queue:
        slots = [left for left in slots if left > 0]
        while queue and len(slots) < parallel:
            slots.append(queue.pop(0))
            slots = [left for left in slots if left > 0]
        if slots:
            at += 1
            slots = [left - 1 for left in slots]
    return at


@given(st.data(), st.integers(1, 4), st.lists(st.integers(0, 30), max_size=8))
def test_the_rest_is_what_a_simulation_takes(data: st.DataObject, parallel: int, waiting: list[int]) -> None:
    running = data.draw(st.lists(st.integers(-5, 30), max_size=parallel))
    assert schedule.remaining(running, waiting, parallel) == by_hand([*running], [*waiting], parallel)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=5), st.integers(1, 3))
def test_longest_first_is_at_most_a_third_worse_than_the_best_order(
    seconds: list[float], parallel: int
) -> None:
    """Graham 1969: 4/3 - 1/(3 m) of the optimum."""
    chosen = schedule.remaining([], sorted(seconds, reverse=True), parallel)
    best = min(schedule.remaining([], list(order), parallel) for order in permutations(seconds))
    assert chosen <= best * (4 / 3 - 1 / (3 * parallel)) + 1e-6


def test_hosts_without_a_history_count_as_the_mean_of_the_others() -> None:
    assert schedule.guessed(["a", "b", "new"], {"a": 10, "b": 30}) == {"a": 10, "b": 30, "new": 20}
    assert schedule.guessed(["new"], {}) is None


# --- when to try again, when to prune -----------------------------------------------------------------


def test_waits_grow_to_five_minutes() -> None:
    assert [schedule.backoff(tried, 1) for tried in (1, 2, 3, 4, 5, 6, 99)] == [10, 20, 40, 80, 160, 300, 300]
    assert [schedule.backoff(tried, 0) for tried in (1, 2, 99)] == [5, 10, 150]


@pytest.mark.parametrize(
    ("ago", "every", "due"),
    [
        (timedelta(days=7), WEEK, True),
        (timedelta(days=7, minutes=-40), WEEK, True),  # tonight's run began a little earlier
        (timedelta(days=6), WEEK, False),
        (timedelta(0), WEEK, False),
        (timedelta(minutes=9, seconds=30), 600, True),
        (timedelta(minutes=8), 600, False),
        (timedelta(days=-1), WEEK, False),  # the clock was set back
        (timedelta(days=400), 0, False),
    ],
)
def test_prune_is_due(ago: timedelta, every: int, due: bool) -> None:
    assert schedule.prune_is_due(NOW - ago, NOW, every) is due


def test_who_never_pruned_is_due_unless_nobody_ever_is() -> None:
    assert schedule.prune_is_due(None, NOW, WEEK)
    assert not schedule.prune_is_due(None, NOW, 0)


def test_a_prune_that_is_still_to_come_keeps_none_from_coming() -> None:
    """Noted while the clock was wrong."""
    assert schedule.prune_is_due(NOW + timedelta(days=3650), NOW, WEEK)


# --- what earlier nights tell -------------------------------------------------------------------------


def night(runs: Runs, days_ago: float, *outcomes: Outcome) -> None:
    at = NOW - timedelta(days=days_ago)
    runs.save(Report("backup", new_run(at), "vault", at, at, Status.OK, Exit.OK, outcomes))


def host(name: str, status: Status = Status.OK, **data: Any) -> Outcome:
    return Outcome("host", name, status, result=result("host", data))


def test_good_nights_of_a_week_count(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    night(runs, 9, host("web1", seconds=5000))
    night(runs, 3, host("web1", seconds=60), host("web2", seconds=7.5))
    night(runs, 2, host("web1", Status.FAILED, seconds=1), host("web2", Status.WARNING, seconds=8.5))
    night(runs, 1, host("web1", seconds=80), host("web3"))
    assert look_back(runs, NOW, 0).seconds == {"web1": 70, "web2": 8}


def test_the_last_prune_is_found_behind_a_longer_interval(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    first, last = NOW - timedelta(days=25), NOW - timedelta(days=20)
    night(runs, 25, host("web1", pruned=moment(first)))
    night(runs, 20, host("web1", pruned=moment(last)))
    night(runs, 10, host("web2", keeps_all=moment(last)))
    night(runs, 1, host("web1"))
    assert look_back(runs, NOW, 30 * 86400).pruned == {"web1": last, "web2": last}
    assert look_back(runs, NOW, WEEK).pruned == {}


def test_an_interval_as_long_as_time_itself_reads_all_there_is(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    night(runs, 20, host("web1", pruned=moment(NOW)))
    assert look_back(runs, NOW, 999_999 * WEEK).pruned == {"web1": NOW}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    key=st.sampled_from(
        ["subject", "status", "data", "seconds", "pruned", "finished", "outcomes", "started"]
    ),
    value=JSON,
)
@settings(max_examples=150, deadline=None)
def test_a_history_that_is_odd_anywhere_stops_no_backup(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    directory = tmp_path_factory.mktemp("runs")
    runs = Runs(directory)
    night(runs, 1, host("web1", seconds=60, pruned=moment(NOW), finished=moment(NOW)))
    (path,) = directory.iterdir()
    table = json.loads(path.read_text())
    for place in (table, table["outcomes"][0], table["outcomes"][0]["data"]):
        if key in place:
            place[key] = value
    path.write_text(json.dumps(table))
    past = look_back(runs, NOW, WEEK)
    assert all(0 <= seconds < 1e9 for seconds in past.seconds.values())
    assert all(at.tzinfo for at in past.pruned.values())
