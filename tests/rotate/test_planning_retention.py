"""Retention against the installed borg's own functions, and the promises that no policy can break."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.harness.builders.retention import BORG_RULES, EDGES, GAPS, in_our_words, ours_said, snap
from tests.harness.checkout import GOLDEN_FILES
from zborg.model import P_STATE, Policy, Snapshot, Verdict
from zborg.model.storage.zfs import P_LABEL
from zborg.planning.rotate.retention import RotatePlan, by_name, keep_reasons, plan_rotation, rotate

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "planning"


@st.composite
def timelines(draw: st.DrawFn) -> list[datetime]:
    """Distinct instants, oldest first: bursts, nights, weeks and years, mixed."""
    at = draw(st.sampled_from(EDGES)) + timedelta(seconds=draw(st.integers(-90_000, 90_000)))
    regular = draw(st.sampled_from([None, *GAPS]))
    line = [at]
    for _ in range(draw(st.integers(0, 40))):
        at += timedelta(seconds=regular or draw(st.sampled_from(GAPS)) + draw(st.integers(0, 3)))
        line.append(at)
    return line


counts = st.one_of(st.just(0), st.integers(0, 6), st.just(-1))
finite = st.one_of(st.just(0), st.integers(0, 6))


def policies(count: st.SearchStrategy[int]) -> st.SearchStrategy[Policy]:
    hours = st.one_of(st.just(0), st.integers(1, 24 * 400))
    return st.builds(Policy, *([count] * len(BORG_RULES)), hours.map(lambda number: number * 3_600))


def around(line: Sequence[datetime]) -> st.SearchStrategy[datetime]:
    """A `now` at, after or, as borg does not mind either, before the last instant."""
    return st.one_of(st.just(0), st.integers(-(10**7), 10**7)).map(lambda s: line[-1] + timedelta(seconds=s))


@dataclass(frozen=True)
class BorgArchive:
    """What borg's rules look at."""

    id: str
    ts: datetime


@pytest.fixture(scope="module")
def borg_misc() -> Iterator[Any]:
    """borg.helpers.misc with local time = UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield importlib.import_module("borg.helpers.misc")
    time.tzset()


def borg_keeps(misc: Any, snapshots: Sequence[Snapshot], policy: Policy, now: datetime) -> dict[str, str]:
    """The steps of borg's do_prune, with borg's own functions, said in our words."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            del tz
            return cls.fromtimestamp(now.timestamp(), UTC)

    archives = [BorgArchive(s.guid, s.name.at) for s in reversed(snapshots) if s.name]
    because: dict[str, tuple[str, int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(misc, "datetime", Clock)
        if policy.within:
            misc.prune_within(archives, policy.within // 3_600, because)
        for ours, theirs in BORG_RULES.items():
            misc.prune_split(archives, theirs, getattr(policy, ours), because)
    return {guid: in_our_words(rule, number) for guid, (rule, number) in because.items()}


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_the_choice_and_its_reasons_are_borgs(borg_misc: Any, data: st.DataObject) -> None:
    line = data.draw(timelines())
    policy = data.draw(policies(counts))
    now = data.draw(around(line))
    snapshots = [snap(at, txg) for txg, at in enumerate(line)]
    data.draw(st.randoms(use_true_random=False)).shuffle(snapshots)
    expected = borg_keeps(borg_misc, sorted(snapshots, key=lambda s: s.createtxg), policy, now)
    assert ours_said(keep_reasons(snapshots, policy, now)) == expected


def test_borgs_rules_stand_in_the_order_that_ours_do(borg_misc: Any) -> None:
    assert [r for r in borg_misc.PRUNING_PATTERNS if r in BORG_RULES.values()] == list(BORG_RULES.values())


def test_within_excludes_its_own_limit() -> None:
    now = datetime(2026, 2, 12, 12, tzinfo=UTC)
    line = [now - timedelta(hours=2, seconds=1), now - timedelta(hours=2), now - timedelta(seconds=7_199)]
    snapshots = [snap(at, txg) for txg, at in enumerate(line)]
    assert keep_reasons(snapshots, Policy(within=7_200), now) == {"g2": ("within 2 hours",)}


# --- what no policy can break ------------------------------------------------------------------------

NAMES = ["manual", "zborg_2026", "autosnap_2026-02-12_00:00:00_daily", "zborg_2026-02-30T000000Z"]


@st.composite
def series(draw: st.DrawFn) -> list[Snapshot]:
    """One dataset's snapshots of every kind, oldest first by createtxg; some clocks went back."""
    line = draw(timelines())
    if draw(st.booleans()):
        line = draw(st.permutations(line))
    return [
        snap(
            at,
            txg,
            state=draw(st.sampled_from([None, "ok", "failed", "busy", "nonsense"])),
            holds=draw(st.sampled_from([0, 0, 0, 1, 2])),
            raw=draw(st.sampled_from(["", "", "", f"{draw(st.sampled_from(NAMES))}.{txg}"])),
        )
        for txg, at in enumerate(line)
    ]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Snapshot], Policy, datetime, dict[str, str]]:
    snapshots = draw(series())
    now = max(s.created for s in snapshots) + timedelta(seconds=draw(st.integers(0, 10**7)))
    vetoed = draw(st.sets(st.sampled_from([s.guid for s in snapshots]), max_size=3))
    return snapshots, draw(policies(counts)), now, {guid: "last common base of offsite" for guid in vetoed}


def guids(verdicts: Sequence[Verdict], *, keep: bool) -> set[str]:
    return {v.snapshot.guid for v in verdicts if v.keep is keep}


def reasons_of(verdicts: Sequence[Verdict]) -> dict[str, tuple[str, ...]]:
    return {v.snapshot.guid: v.reasons for v in verdicts}


@given(situations())
def test_each_guard_speaks_for_itself(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]],
) -> None:
    snapshots, policy, now, vetoes = situation
    said = reasons_of(rotate(snapshots, policy, now, vetoes))
    ours = [s for s in snapshots if s.name]
    good = [s for s in ours if s.state == "ok"]
    assert list(said) == [s.guid for s in snapshots]
    for snapshot in snapshots:
        words = said[snapshot.guid]
        assert ("not named by zborg" in words) is (snapshot.name is None)
        assert any(re.fullmatch(r"\d holds?", word) for word in words) is bool(snapshot.holds)
        assert ("newest" in words) is (snapshot in ours[-1:])
        assert ("last good" in words) is (snapshot in good[-1:])
        assert ("last common base of offsite" in words) is (snapshot.guid in vetoes)
        assert ("no retention rule is set" in words) is policy.empty


@given(situations())
def test_whatever_the_policy_keeps_stays_and_only_unreasoned_snapshots_go(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]],
) -> None:
    snapshots, policy, now, vetoes = situation
    verdicts = rotate(snapshots, policy, now, vetoes)
    for guid, words in keep_reasons(snapshots, policy, now).items():
        assert set(words) <= set(reasons_of(verdicts)[guid])
    assert guids(verdicts, keep=False) == {v.snapshot.guid for v in verdicts if not v.reasons}


@given(situations())
def test_an_empty_policy_destroys_nothing(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]],
) -> None:
    snapshots, _, now, vetoes = situation
    assert not guids(rotate(snapshots, Policy(), now, vetoes), keep=False)


@given(situations(), st.integers(1, 10**8))
def test_a_clock_behind_the_newest_snapshot_destroys_nothing(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]], behind: int
) -> None:
    snapshots, policy, _, vetoes = situation
    assume(any(s.name for s in snapshots))
    newest = max((s for s in snapshots if s.name), key=lambda s: str(s.name))
    now = newest.created - timedelta(seconds=behind)
    verdicts = rotate(snapshots, policy, now, vetoes)
    assert plan_rotation(snapshots, policy, now, vetoes).ahead == newest
    assert all(any("clock" in word for word in v.reasons) for v in verdicts)


@given(situations())
def test_rotating_the_survivors_again_destroys_nothing(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]],
) -> None:
    """Each rule meets the same first snapshot of each period again, so not even a reason changes."""
    snapshots, policy, now, vetoes = situation
    first = rotate(snapshots, policy, now, vetoes)
    survivors = [v.snapshot for v in first if v.keep]
    assert reasons_of(rotate(survivors, policy, now, vetoes)) == {
        v.snapshot.guid: v.reasons for v in first if v.keep
    }


@settings(max_examples=300)
@given(situations(), policies(finite), policies(finite))
def test_a_policy_that_asks_for_more_never_keeps_less(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]], one: Policy, more: Policy
) -> None:
    """True for counts; -1 ("all periods") does not add the oldest snapshot, in borg neither."""
    snapshots, _, now, vetoes = situation
    words = (*BORG_RULES, "within")
    larger = Policy(*(getattr(one, word) + getattr(more, word) for word in words))
    kept = guids(rotate(snapshots, one, now, vetoes), keep=True)
    # An empty policy keeps all; that is a guard and not a choice.
    assert one.empty or kept <= guids(rotate(snapshots, larger, now, vetoes), keep=True)


@given(situations(), st.data())
def test_a_hold_a_clone_or_a_veto_more_saves_that_snapshot_and_changes_no_other(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]], data: st.DataObject
) -> None:
    snapshots, policy, now, vetoes = situation
    chosen = data.draw(st.sampled_from(snapshots))
    before = guids(rotate(snapshots, policy, now, vetoes), keep=True)
    held = [replace(s, holds=9) if s is chosen else s for s in snapshots]
    assert guids(rotate(held, policy, now, vetoes), keep=True) == before | {chosen.guid}
    cloned = [replace(s, clones=("tank/rescue", "tank/x")) if s is chosen else s for s in snapshots]
    said = rotate(cloned, policy, now, vetoes)
    assert guids(said, keep=True) == before | {chosen.guid}
    assert "cloned as tank/rescue, tank/x" in reasons_of(said)[chosen.guid]
    more = {**vetoes, chosen.guid: ""}
    assert guids(rotate(snapshots, policy, now, more), keep=True) == before | {chosen.guid}


@given(situations(), st.data())
def test_the_order_of_the_listing_does_not_matter(
    situation: tuple[list[Snapshot], Policy, datetime, dict[str, str]], data: st.DataObject
) -> None:
    snapshots, policy, now, vetoes = situation
    shuffled = data.draw(st.permutations(snapshots))
    assert rotate(shuffled, policy, now, vetoes) == rotate(snapshots, policy, now, vetoes)


def test_daily_snapshots_stay_daily_when_europe_changes_its_clocks() -> None:
    """Local days of 23 and 25 hours made doubles."""
    first = datetime(2025, 10, 20, 22, 30, tzinfo=UTC)
    line = [first + timedelta(days=day) for day in range(10)]
    verdicts = rotate([snap(at, txg) for txg, at in enumerate(line)], Policy(daily=10), line[-1], {})
    assert [v.reasons[0] for v in verdicts] == [f"daily #{10 - day}" for day in range(10)]


def test_the_instant_can_come_from_elsewhere_than_the_name() -> None:
    """An off-site's names are the sender's claim; without a record of arrival nothing is destroyed."""
    now = datetime(2026, 2, 12, tzinfo=UTC)
    arrivals = {"g0": now - timedelta(days=9), "g1": now - timedelta(days=2), "g2": now - timedelta(days=1)}
    snapshots = [snap(now - timedelta(days=900 + txg), txg) for txg in range(4)]
    verdicts = rotate(snapshots, Policy(last=1), now, {}, when=lambda s: arrivals.get(s.guid))
    assert guids(verdicts, keep=False) == {"g0", "g1"}
    assert reasons_of(verdicts)["g3"] == ("newest", "its time is not known")


# --- many datasets -----------------------------------------------------------------------------------


def fleet(hosts: int, nights: int) -> list[Snapshot]:
    first = datetime(2025, 1, 1, 2, tzinfo=UTC)
    return [
        replace(
            snap(first + timedelta(days=night), night, state="ok"),
            dataset=f"tank/borg/h{h}",
            guid=f"{h}.{night}",
        )
        for night in range(nights)
        for h in range(hosts)
    ]


def test_each_dataset_is_judged_by_itself() -> None:
    snapshots = fleet(3, 40)
    now = max(s.created for s in snapshots)
    plan = plan_rotation(snapshots, Policy(daily=5, weekly=2), now, {})
    for host in range(3):
        alone = [s for s in snapshots if s.dataset == f"tank/borg/h{host}"]
        expected = rotate(alone, Policy(daily=5, weekly=2), now, {})
        assert tuple(v for v in plan.verdicts if v.snapshot.dataset == f"tank/borg/h{host}") == expected
        assert plan.destroy[f"tank/borg/h{host}"] == tuple(
            v.snapshot.snapname for v in expected if not v.keep
        )


def test_one_dataset_from_the_future_stops_the_rotation_of_all() -> None:
    snapshots = fleet(3, 40)
    now = max(s.created for s in snapshots)
    ahead = replace(snap(now + timedelta(seconds=1), 99), dataset="tank/borg/h9")
    fine = plan_rotation(snapshots, Policy(daily=5), now, {})
    assert fine.destroy and fine.ahead is None
    plan = plan_rotation([*snapshots, ahead], Policy(daily=5), now, {})
    assert not plan.destroy and plan.ahead == ahead


def test_a_foreign_snapshot_from_the_future_stops_nothing() -> None:
    """What was received was created when its sender's clock says."""
    snapshots = fleet(2, 40)
    now = max(s.created for s in snapshots)
    foreign = replace(snap(now + timedelta(days=3_650), 99, raw="autosnap"), dataset="tank/borg/h1")
    for when in (by_name, lambda snapshot: snapshot.created):
        plan = plan_rotation([*snapshots, foreign], Policy(daily=5), now, {}, when)
        assert len(plan.destroy["tank/borg/h1"]) == 35 and plan.ahead is None
        assert next(v for v in plan.verdicts if v.snapshot == foreign).reasons == ("not named by zborg",)


def test_an_empty_listing_is_an_empty_plan() -> None:
    plan = plan_rotation([], Policy(daily=1), datetime(2026, 1, 1, tzinfo=UTC), {})
    assert plan == RotatePlan(()) and not plan.destroy and not plan.lines()


def counting(calls: list[int]) -> Callable[[Snapshot], datetime | None]:
    def when(snapshot: Snapshot) -> datetime | None:
        calls[0] += 1
        return snapshot.created

    return when


def test_a_hundred_thousand_snapshots_are_each_looked_at_once() -> None:
    snapshots = fleet(50, 2_000)
    now = max(s.created for s in snapshots)
    calls = [0]
    plan = plan_rotation(snapshots, Policy(3, 0, 14, 8, 12, 3), now, {}, when=counting(calls))
    assert len(plan.verdicts) == calls[0] == 100_000
    assert sum(len(snapnames) for snapnames in plan.destroy.values()) == 50 * (2_000 - 40)


def test_the_plan_reads_like_its_golden_file() -> None:
    now = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
    ages = [700, 400, 200, 90, 45, 30, 20, 14, 12, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    web = [snap(now - timedelta(days=age), txg, state="ok") for txg, age in enumerate(ages)]
    web[3] = replace(web[3], holds=2)
    web[-1] = replace(web[-1], properties={P_STATE: "failed"})
    web[5] = replace(web[5], snapname="before-upgrade")
    mail = [replace(s, dataset="tank/borg/mail", guid=f"m{s.guid}") for s in web[-3:]]
    vetoes = {web[7].guid: "last common base of offsite"}
    policy = Policy(last=1, daily=3, weekly=1, monthly=2, yearly=3, within=86_401)
    plan = plan_rotation([*web, *mail], policy, now, vetoes)
    assert list(plan.lines()) == (GOLDEN / "rotate_plan.txt").read_text().splitlines()


def test_a_plan_shows_what_a_snapshot_was_called() -> None:
    now = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
    named = replace(snap(now, 1, state="ok"), properties={P_STATE: "ok", P_LABEL: "before-upgrade"})
    (_, line) = plan_rotation([named], Policy(last=1), now, {}).lines()
    assert line.endswith(" (labelled before-upgrade)")
