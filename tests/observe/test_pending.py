"""A server's first day: what was never done is not due yet, and an alarm once it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.steps import init, rotate, snapshot
from tests.harness.worlds.arrivals import offsite
from tests.harness.worlds.inventory import good, status
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.text.units import moment
from zborg.planning.observe.health import arrival_finding, due, host_findings
from zborg.reporting.status import one_line
from zborg.state.runs import Runs, new_run
from zborg.steps.inventory import Remembering

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = 3600


@pytest.fixture
def fresh(vault: LocalVault, clock: Hours) -> LocalVault:
    """`zborg init` ran a moment ago."""
    dataset_only(vault, "web1")
    report = init(world(vault, clock))
    assert report.command == "init"
    return vault


def test_after_backup_and_snapshot_the_rest_is_not_due_yet(fresh: LocalVault, clock: Hours) -> None:
    good(world(fresh, clock), clock, "web1")
    snapshot(world(fresh, clock))
    clock.tick(0.5)
    found = status(world(fresh, clock), clock)
    assert (found.exit, found.status) == (Exit.OK, Status.OK)
    for step in ("rotate", "replicate offsite", "scrub"):
        one = of(found, step)
        assert one.status is Status.PENDING
        assert one.message == f"not run yet; due by {one.data['due']}"
    line, code = one_line(found)
    assert (line.split(" - ")[0], code) == ("ZBORG OK", 0)


def test_once_it_is_due_it_is_a_failure(fresh: LocalVault, clock: Hours) -> None:
    clock.tick(25)
    found = status(world(fresh, clock), clock)
    assert found.exit is Exit.FAILED
    for step in ("snapshot", "rotate", "replicate offsite", "scrub"):
        assert (of(found, step).status, of(found, step).message) == (Status.FAILED, "never run")
    assert of(found, "web1").message == "never backed up"
    assert one_line(found)[1] == 2


def test_right_after_init_nothing_alarms(fresh: LocalVault, clock: Hours) -> None:
    found = status(world(fresh, clock), clock)
    assert (found.exit, of(found, "web1").status) == (Exit.OK, Status.PENDING)
    assert of(found, "web1").message == f"not backed up yet; due by {moment(clock.now + timedelta(hours=1))}"


def test_a_first_backup_that_failed_is_a_failure_at_once(fresh: LocalVault, clock: Hours) -> None:
    good(world(fresh, clock), clock, "web1", status=Status.FAILED)
    found = of(status(world(fresh, clock), clock), "web1")
    assert found.status is Status.FAILED
    assert found.message.startswith("never backed up; the last try failed")


def test_a_host_and_a_target_that_are_added_later_have_their_own_first_day(
    fresh: LocalVault, clock: Hours
) -> None:
    good(world(fresh, clock), clock, "web1")
    clock.tick(300)
    dataset_only(fresh, "new")
    context = world(fresh, clock)
    late = replace(context.config.targets[0], name="late")
    config = replace(context.config, targets=(*context.config.targets, late))
    Remembering(config, context.runs, pytest.fail)(
        Report("host add", "x", "test", clock.now, clock.now, Status.OK, Exit.OK, ())
    )
    found = status(replace(context, config=config), clock)
    assert (of(found, "new").status, of(found, "replicate late").status) == (Status.PENDING,) * 2
    assert of(found, "replicate offsite").status is Status.FAILED
    clock.tick(25)
    found = status(replace(world(fresh, clock), config=config), clock)
    assert (of(found, "new").status, of(found, "replicate late").status) == (Status.FAILED,) * 2


def test_an_off_site_waits_a_day_for_the_first_arrival(vault: LocalVault, clock: Hours) -> None:
    context = offsite(vault, clock)
    vault.far.create("vault/zborg/web1", {})
    saved = rotate(context)
    arrived = of(saved, "vault/zborg")
    assert (saved.exit, arrived.status) == (Exit.OK, Status.SKIPPED)
    found = of(status(context, clock), "vault/zborg")
    assert (found.status, found.message.split(";")[0]) == (Status.PENDING, "nothing arrived yet")
    clock.tick(30)
    late = offsite(vault, clock)
    assert of(status(late, clock), "vault/zborg").message == "nothing ever arrived"
    assert rotate(late).exit is not Exit.OK


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (None, None),
        (NOW, NOW + timedelta(hours=1)),
        (NOW - timedelta(minutes=59), NOW + timedelta(minutes=1)),
        (NOW - timedelta(hours=1), None),
        (NOW + timedelta(days=1), None),  # of a clock that was ahead: it would excuse for ever
    ],
)
def test_due_is_the_limit_after_the_first_day(first: datetime | None, expected: datetime | None) -> None:
    assert due(first, HOUR, NOW) == expected


def test_findings_of_what_is_not_due_yet() -> None:
    (host,) = host_findings({}, {"web1": HOUR}, {"web1": NOW}, NOW)
    assert (host.level, host.remedy) == (Status.PENDING, "")
    assert arrival_finding("v/z", {}, HOUR, NOW, NOW).level is Status.PENDING
    assert arrival_finding("v/z", {}, HOUR, NOW).level is Status.FAILED
    assert not Status.PENDING.bad
    assert not Status.PENDING.good


def test_since_when_a_server_is_in_use(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.since() is None
    for days in (3, 5):
        at = NOW - timedelta(days=days)
        seen = (Outcome("pool", "tank", Status.OK),)
        runs.save(Report("scrub", new_run(at), "test", at, at, Status.OK, Exit.OK, seen))
    assert runs.since() == NOW - timedelta(days=5)
