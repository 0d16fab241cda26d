"""Whose turn it is, which copy and which archive, and what an answer comes to. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Snapshot, State, Status
from zborg.model.ledger.drilled import Drilled, drilled
from zborg.model.ledger.entries import DRILL, Entry, parse
from zborg.planning.drill.choose import Choice, Made, choose
from zborg.planning.drill.due import STORAGE, Past, late, tonight, turn
from zborg.planning.drill.judge import Allowed, Counts, allowed, verdict

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 2, 30, tzinfo=UTC)
NIGHT = timedelta(days=1)
WEEK = 7 * 86400


def snapshot(number: int, at: datetime, state: State | None = State.OK) -> Snapshot:
    properties = {"zborg:state": state.value} if state else {}
    return Snapshot("tank/borg/web1", f"s{number}", str(number), number, at, 0, 0, properties)


# --- whose turn -------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.lists(st.sampled_from(["a", "b"]), unique=True), st.integers(7, 30))
def test_all_have_their_turn_in_time_and_the_copies_alternate(
    hosts: int, targets: list[str], days: int
) -> None:
    """Night after night: each host within `drill_every`, and each source before any comes again."""
    pasts = {f"web{n}": Past() for n in range(hosts)}
    asked: dict[str, list[str]] = {name: [] for name in pasts}
    before, every = None, days * 86400
    for night in range(4 * days * (len(targets) + 1)):
        now = NOW + night * NIGHT
        for name, source in tonight(pasts, targets, every, now, before):
            tried = pasts[name].tried
            assert tried is None or (now - tried).total_seconds() <= every
            asked[name].append(source)
            pasts[name] = Past(dict(pasts[name].asked) | {source: now}, now)
            before = now
    known = [STORAGE, *targets]
    for sources in asked.values():
        assert len(sources) >= 3 * len(known)
        assert all(source == known[n % len(known)] for n, source in enumerate(sources))
    assert not late(pasts, every, NOW + 4 * days * (len(targets) + 1) * NIGHT)


def test_nobody_is_due_when_it_is_turned_off() -> None:
    assert tonight({"web1": Past()}, [], 0, NOW) == ()
    assert tonight({}, [], WEEK, NOW) == ()
    assert late({"web1": Past()}, 0, NOW) == ()


def test_a_copy_that_is_away_keeps_nobody_from_the_others() -> None:
    """What counts is when it was asked."""
    assert turn(Past({STORAGE: NOW - NIGHT}), ["a"]) == "a"
    assert turn(Past({STORAGE: NOW - 2 * NIGHT, "a": NOW - NIGHT}), ["a"]) == STORAGE
    assert turn(Past({"gone": NOW}), []) == STORAGE


def test_late_is_who_read_nothing_for_long() -> None:
    pasts = {"a": Past({STORAGE: NOW}), "b": Past({}, NOW - 8 * NIGHT), "c": Past({}, NOW - 7 * NIGHT)}
    assert late(pasts, WEEK, NOW) == ("a", "b")


# --- which snapshot, which archive ------------------------------------------------------------------


def made(number: int, at: datetime) -> Made:
    return Made(at, f"web1-{number}", 1000)


def test_the_newest_good_snapshot_whose_newest_archive_is_sampled() -> None:
    ends = [made(n, NOW + n * NIGHT) for n in range(4)]
    hour = timedelta(hours=1)
    snapshots = [snapshot(n, NOW + n * NIGHT + hour) for n in range(4)]
    sampled = {one.archive for one in ends}
    assert choose(snapshots, ends, sampled) == Choice(snapshots[3], ends[3])
    assert choose(snapshots[:3], ends, sampled) == Choice(snapshots[2], ends[2]), "a copy that is behind"
    assert choose(snapshots, ends, sampled - {"web1-3"}) == Choice(snapshots[2], ends[2])
    failed = [*snapshots[:3], snapshot(3, NOW + 3 * NIGHT + hour, State.FAILED)]
    assert choose(failed, ends, sampled) == Choice(snapshots[2], ends[2])
    assert choose([snapshot(0, NOW - hour)], ends, sampled) is None, "before there was any"
    assert choose(snapshots, ends, ()) is None and choose([], ends, sampled) is None


@given(
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from([*State, None])), max_size=8),
    st.lists(st.integers(0, 100), unique=True, max_size=8),
    st.sets(st.integers(0, 100)),
)
def test_what_is_asked_for_is_always_in_what_is_lent(
    snapshots: list[tuple[int, State | None]], ends: list[int], sampled: set[int]
) -> None:
    """And nothing newer is: no archive of it can have been pruned since."""
    minute = timedelta(minutes=1)
    known = [snapshot(n, NOW + at * minute, state) for n, (at, state) in enumerate(snapshots)]
    backups = [made(at, NOW + at * minute) for at in ends]
    found = choose(known, backups, {f"web1-{one}" for one in sampled})
    if found:
        assert found.snapshot.state is State.OK and found.made.ended <= found.snapshot.created
        between = [one for one in backups if found.made.ended < one.ended <= found.snapshot.created]
        assert not between and int(found.made.archive[5:]) in sampled


# --- what a host says -------------------------------------------------------------------------------


def test_what_an_agent_says_of_drills() -> None:
    archive = "web1-2026-01-01T000000Z"
    assert allowed({}) == Allowed(known=False, drills=False, sampled=())
    assert allowed({"drill": "no", "sampled": ""}) == Allowed(known=True, drills=False, sampled=())
    answer = {"drill": "yes", "sampled": f"{archive} ../../etc {archive}x $(id)"}
    assert allowed(answer) == Allowed(known=True, drills=True, sampled=(archive,))


def counts(**changes: float) -> Counts:
    known: dict[str, float] = {
        "files": 300,
        "bytes": 3_000_000,
        "mismatched": 0,
        "unfinished": 0,
        "sampled": 301,
    }
    known |= {"population": 8400, "canary": True, "seconds": 3}
    return Counts(**(known | changes))  # type: ignore[arg-type]  # whole ones where it wants them


def test_a_good_answer_has_its_rate() -> None:
    status, words = verdict(Status.OK, "", counts(), 300_000_000)
    assert status is Status.OK
    assert words == (
        "300 files of 8400, 2.9 MiB, and the canary are as they were backed up; 3.0 s, "
        "and 5 minutes for all 286.1 MiB at that rate"
    )
    assert counts().rate == 1_000_000 and counts().whole(0) is None
    assert counts(seconds=0).rate is None and counts(bytes=0).rate is None
    assert verdict(Status.WARNING, "a warning", counts(), 0) == (
        Status.OK,
        "300 files of 8400, 2.9 MiB, and the canary are as they were backed up; 3.0 s",
    )


def test_a_bad_answer_has_numbers_and_no_names() -> None:
    words = "what is lent is not what was backed up"
    assert verdict(Status.DAMAGED, words, counts(mismatched=2, unfinished=1), 0) == (
        Status.DAMAGED,
        f"3 of 301 sampled files are not as they were backed up; {words}",
    )
    assert verdict(Status.DAMAGED, words, counts(canary=False), 0)[1].startswith("not even the canary")
    assert verdict(Status.DAMAGED, words, counts(), 0) == (Status.DAMAGED, words)
    assert verdict(Status.FAILED, "the connection broke", counts(), 0) == (
        Status.FAILED,
        "the connection broke",
    )


@pytest.mark.parametrize("lie", [{"mismatched": 1}, {"unfinished": 1}, {"canary": False}])
def test_an_answer_that_contradicts_itself_is_no_drill(lie: dict[str, float]) -> None:
    assert verdict(Status.OK, "", counts(**lie), 0)[0] is Status.FAILED


def test_the_canary_alone_is_a_warning() -> None:
    assert verdict(Status.OK, "", counts(files=0), 0)[0] is Status.WARNING


# --- the ledger -------------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.booleans(), st.sampled_from(["", "offsite"]))
def test_an_entry_comes_back_as_it_was(number: int, seconds: int, whole: bool, source: str) -> None:
    entry = Drilled("web1", "run", NOW, "zborg_x", "7", source, "web1-x", number, number, 0, seconds, whole)
    assert drilled(parse(entry.line())) == entry


@pytest.mark.parametrize(
    "table", [{}, {"files": [1]}, {"run": "", "files": [1, 2, 3], "snapshot": ["a"]}, {"files": "x"}]
)
def test_what_is_no_entry_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="drill"):
        drilled(Entry(DRILL, NOW, table))
    with pytest.raises(ValueError, match="not an entry"):
        drilled(Entry("verify", NOW, {"files": [1, 2, 3], "snapshot": ["a", "b", "c"]}))
