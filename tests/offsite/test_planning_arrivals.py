"""A year of arrivals from a server in wrong hands: the off-site's rotation keeps what came honestly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.builders.begin import golden
from zborg.errors import ZborgError
from zborg.model import P_RUN, P_STATE, Policy, Snapshot, SnapshotName, Status
from zborg.model.storage.zfs import P_ARRIVED
from zborg.model.text.units import moment
from zborg.planning.observe.health import arrival_finding
from zborg.planning.rotate.retention import UNTOUCHABLE, by_arrival, plan_rotation, recent
from zborg.zfs import begin
from zborg.zfs.sink import Mark, check_mark, name_of

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
START = datetime(2026, 2, 12, 2, 30, tzinfo=UTC)
FULL = begin.parse(golden()["full"])


@dataclass
class Offsite:
    """The snapshots of one dataset behind a sink, and its clock."""

    now: datetime = START
    held: list[Snapshot] = field(default_factory=list)
    refused: int = 0
    _count: int = 0

    def receive(self, raw: str, state: str) -> Snapshot | None:
        """A stream under this name, with the right base; marked as the sender likes."""
        base = self.held[-1].guid if self.held else None
        stream = replace(FULL, from_guid=base, to_name=f"tank/borg/web1@{raw}")
        try:
            name = name_of(stream, self.held, self.now)
        except ZborgError:
            self.refused += 1
            return None
        self._count += 1
        arrived = {P_ARRIVED: moment(self.now)}
        came = Snapshot("vault/zborg/web1", name, str(self._count), self._count, START, 0, 0, arrived)
        marks = {P_STATE: state, P_RUN: "20260212T144933Z-4f3a"}
        check_mark(Mark(came.full, marks), [*self.held, came])
        self.held.append(replace(came, properties=arrived | marks))
        return self.held[-1]

    def rotate(self, policy: Policy) -> None:
        plan = plan_rotation(self.held, policy, self.now, recent(self.held, {}, self.now), by_arrival)
        doomed = {raw for snapnames in plan.destroy.values() for raw in snapnames}
        self.held = [one for one in self.held if one.snapname not in doomed]


def hostile(dice: random.Random, now: datetime) -> Iterator[str]:
    """Names of every kind: of the past, of the future, as far ahead as is allowed, sensible, none."""
    for _ in range(dice.choice([0, 1, 2, 8])):
        ahead = dice.choice([-4000 * DAY, -DAY, timedelta(), timedelta(minutes=59), DAY, 4000 * DAY])
        yield str(SnapshotName.of(now + ahead + timedelta(seconds=dice.randrange(60))))
    if dice.random() < 0.1:
        yield dice.choice(["zborg_9999-12-31T235959Z", "daily", "zborg_0001-01-01T000000Z", "%", ""])


@pytest.mark.parametrize(
    ("policy", "seed"),
    [(Policy(last=1), 1), (Policy(daily=7, weekly=4), 2), (Policy(last=3, hourly=24), 3)],
)
def test_what_arrived_honestly_within_30_days_is_still_there(policy: Policy, seed: int) -> None:
    dice, offsite = random.Random(seed), Offsite()
    honest: list[Snapshot] = []
    for _ in range(365):
        for raw in hostile(dice, offsite.now):
            offsite.now += timedelta(seconds=dice.randrange(1, 600))
            offsite.receive(raw, dice.choice(["ok", "failed", "busy"]))
        offsite.now += timedelta(hours=2)
        if came := offsite.receive(str(SnapshotName.of(offsite.now)), "ok"):
            honest.append(came)
        for raw in hostile(dice, offsite.now):
            offsite.receive(raw, "ok")
        offsite.rotate(policy)
        held = {one.guid for one in offsite.held}
        young = [one for one in honest if one.arrived and offsite.now - one.arrived < UNTOUCHABLE]
        assert {one.guid for one in young} <= held
        offsite.now = offsite.now.replace(hour=2, minute=30) + DAY
    assert len(honest) > 300 and offsite.refused > 365
    assert len(offsite.held) < len(honest) + offsite._count / 2  # it does rotate


def test_the_finding_of_arrivals() -> None:
    def judged(**ages: float | None) -> tuple[Status, str]:
        newest = {
            name: START - timedelta(hours=age) if age is not None else None for name, age in ages.items()
        }
        found = arrival_finding("vault/zborg", newest, 26 * 3600, START)
        return found.level, found.message

    assert judged() == judged(web1=None) == (Status.FAILED, "nothing ever arrived")
    assert judged(web1=30, db1=None)[0] is Status.FAILED
    assert judged(web1=3, db1=1) == (Status.OK, "the last snapshot arrived 60 minutes ago")
    level, words = judged(web1=3, db1=27, new=None)
    assert level is Status.WARNING and words.endswith("nothing for more than 26 hours: db1, new")
    level, words = judged(web1=-3)
    assert level is Status.FAILED and "the clock was or is wrong" in words
