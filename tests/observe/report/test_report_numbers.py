"""The numbers of `zborg report`, before they are shown."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.reports import outcome, result
from tests.harness.builders.rows import NOON, TODAY, days, entry, told
from zborg.model import Entry, Outcome, Pool, Scrub, Status
from zborg.model.results import Replicated, SnapshotTaken
from zborg.planning.observe.figures import DAILY, figures
from zborg.planning.observe.forecast import forecast
from zborg.state.escrow.sealed import Escrow
from zborg.steps.scrub import pool_state

NEW = st.lists(st.none() | st.integers(0, 1 << 40), min_size=1, max_size=20)


@pytest.mark.unit
@given(some=NEW, length=st.integers(1, 300))
def test_weeks_lose_nothing_of_the_days(some: list[int | None], length: int) -> None:
    """None: that night failed. Of a long time the oldest days may not fill a week."""
    new = list(islice(cycle(some), length))
    hosts = [
        entry(n, outcome(Status.FAILED) if one is None else outcome(Status.OK, data={"new_bytes": one}))
        for n, one in enumerate(new)
    ]
    found = figures(told(len(new) - 1, hosts=hosts))
    (host,) = found.hosts
    left_out = len(new) % 7 if len(new) > DAILY else 0
    assert found.step == (7 if len(new) > DAILY else 1)
    assert sum(row.new_bytes or 0 for row in host.backups) == sum(one or 0 for one in new[left_out:])
    assert sum(row.of for row in host.backups) == len(new) - left_out
    assert sum(row.good for row in host.backups) == sum(one is not None for one in new[left_out:])
    assert sum(day.new_bytes for day in found.calendar) == sum(one or 0 for one in new)


@pytest.mark.unit
def test_the_calendar_tells_kinds_of_nights_and_those_that_are_missing() -> None:
    good, bad = outcome(Status.OK, "a"), outcome(Status.FAILED, "b")
    warned = outcome(Status.WARNING, "c")
    hosts = [entry(0, good), entry(1, bad), entry(1, good), entry(2, bad), entry(4, warned), entry(4, good)]
    words = [day.word for day in figures(told(7, hosts=hosts)).calendar]
    assert words == ["good", "partial", "failed", "none", "warned", "none", "none"]  # today's may come


@pytest.mark.unit
def test_how_far_a_target_is_behind() -> None:
    def sent(day: int, name: str, *, well: bool = True, run: str = "") -> Entry:
        status, data = (Status.OK, {"streams": 1, "bytes": 1}) if well else (Status.FAILED, {})
        return entry(
            day,
            Outcome("replica", f"off:v/{name}", status, result=result("replica", data)),
            "replicate",
            run or f"r{day}",
        )

    replicas = [
        sent(0, "a"), sent(0, "gone"), sent(1, "a"), sent(1, "b", well=False),
        sent(2, "a", well=False), sent(2, "b", well=False), sent(4, "a"), sent(4, "b"),
        entry(4, Outcome("replica", "off:v/gone", Status.WARNING, "is gone here"), "replicate", "r4"),
        entry(4, Outcome("replica", "other:v/a", Status.OK, result=NOTHING_NEW), "replicate", "r4"),
    ]  # fmt: skip
    target, never = figures(told(7, replicas=replicas, targets={"off": "v", "never": "v"})).targets
    assert [days for _, days in target.behind] == [0, 0, 1, 2, 0, 1, 2]
    assert never.behind == ()


def marked(name: str, state: str) -> Outcome:
    dataset = f"tank/borg/{name}"
    return Outcome(
        "dataset", dataset, Status.OK, result=SnapshotTaken(snapshot=f"{dataset}@zborg", state=state)
    )


NOTHING_NEW = Replicated(streams=0, bytes=0)


@pytest.mark.unit
def test_the_proof_of_a_host() -> None:
    found = figures(
        told(
            5,
            names=["web1", "new1"],
            root="tank/borg",
            targets={"off": "v"},
            sealed=frozenset({"web1"}),
            hosts=[
                entry(1, outcome(Status.OK, subject="web1")),
                entry(2, outcome(Status.FAILED, "web1")),
                entry(3, outcome(Status.OK, subject="web1"), "restore files"),
                entry(4, outcome(Status.FAILED, "web1"), "restore repo"),
            ],
            datasets=[
                entry(1, marked("web1", "ok"), "snapshot"),
                entry(2, marked("web1", "failed"), "snapshot"),
            ],
            replicas=[
                entry(2, Outcome("replica", "off:v/web1", Status.OK, result=NOTHING_NEW), "replicate"),
                entry(3, Outcome("replica", "off:v/web1", Status.FAILED), "replicate"),
            ],
        )
    )
    web1, new1 = (one.proof for one in found.hosts)
    days = [at and (at - NOON).days for at in (web1.backup, web1.snapshot, web1.copies["off"], web1.restore)]
    assert days == [1, 1, 2, 3]
    assert web1.sealed
    assert (new1.backup, new1.snapshot, new1.copies, new1.restore, new1.sealed) == (
        None,
        None,
        {"off": None},
        None,
        False,
    )


@pytest.mark.unit
@given(slope=st.integers(1, 1000), odd=st.lists(st.floats(0, 1e6), max_size=5), length=st.integers(30, 90))
def test_a_few_odd_days_do_not_turn_the_forecast(slope: int, odd: list[float], length: int) -> None:
    values = [5000.0 + slope * n for n in range(length)]
    for n, value in enumerate(odd):
        values[3 + n] = value
    top = values[-1] + 10 * slope
    found = forecast(days(values), top, 20)
    assert found is not None
    assert found.bytes_a_day == pytest.approx(slope, rel=0.4)
    if not odd:
        assert found.full == TODAY + timedelta(days=length - 1 + 10)
        assert found.line[-1][1] == pytest.approx(top)


@pytest.mark.unit
def test_what_cannot_be_told_of_a_pool() -> None:
    assert forecast(days([1.0] * 6), 100, 7) is None
    for values in ([50.0] * 20, [50.0 - n for n in range(20)], [50 + n / 1000 for n in range(20)]):
        found = forecast(days(values), 100, 7)
        assert found is not None
        assert found.full is None
    full = forecast(days([100.0] * 20), 100, 7)
    assert full is not None
    assert full.full == TODAY + timedelta(days=19)


@pytest.mark.unit
def test_whose_key_is_sealed(tmp_path: Path) -> None:
    escrow = Escrow(tmp_path / "escrow")
    assert escrow.sealed_for("web1") == ""
    armour = "-----BEGIN AGE ENCRYPTED FILE-----\nYWJj\n-----END AGE ENCRYPTED FILE-----\n"
    kept = escrow.keep("web1", "0123abcd", armour, NOON)
    assert escrow.sealed_for("web1") == "0123abcd"
    assert escrow.is_sealed("web1", "0123abcd")
    assert not escrow.is_sealed("web1", "another")
    kept.write_text("half of it")
    assert escrow.sealed_for("web1") == ""


@pytest.mark.unit
def test_a_pool_is_as_its_scrubs_saw_it() -> None:
    def seen(day: int, name: str, command: str = "scrub", size: int = 0, free: int = 0) -> Entry:
        pool = pool_state(Pool(name, "ONLINE", Scrub.FINISHED, NOON, 0, 0, 0.0, size, free))
        return entry(day, Outcome("pool", name, Status.OK, result=pool), command)

    found = figures(
        told(
            9,
            pools=[
                *(seen(day, "tank", size=1000, free=900 - 10 * day) for day in range(10)),
                seen(3, "tank", "status", size=7, free=1),
                seen(4, "blind"),
                seen(5, "vault", size=500),
            ],
        )
    ).pools
    assert [one.name for one in found] == ["tank", "vault"]
    tank, vault = found
    assert (tank.size, tank.used[0][1], tank.used[-1][1]) == (1000, 100, 190)
    assert tank.forecast is not None and tank.forecast.bytes_a_day == pytest.approx(10)
    assert (vault.used[0][1], vault.forecast) == (500, None)


@pytest.mark.unit
def test_a_dataset_below_a_host_s_is_no_proof_of_a_host_of_that_name() -> None:
    """web1/db holds no repository of host db, on the storage and on a target."""
    below = Outcome("replica", "off:v/web1/db", Status.OK, result=NOTHING_NEW)
    found = figures(
        told(
            3,
            names=["web1", "db"],
            root="tank/borg",
            targets={"off": "v"},
            datasets=[
                entry(1, marked("web1/db", "ok"), "snapshot"),
                entry(1, marked("web1", "ok"), "snapshot"),
            ],
            replicas=[entry(1, below, "replicate")],
        )
    )
    web1, db = (one.proof for one in found.hosts)
    assert web1.snapshot is not None
    assert (db.snapshot, db.copies, web1.copies) == (None, {"off": None}, {"off": None})
