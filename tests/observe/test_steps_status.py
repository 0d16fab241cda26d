"""scrub, status and the whole night, on the in-memory ZFS and real borg."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.steps import Request, backup, night, replicate, rotate, scrub, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, guids, nights, of, scrubbed, shown, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Scrub, Status
from zborg.state.locks import Locks
from zborg.state.runs import Runs, new_run
from zborg.steps.context import Context
from zborg.steps.observe.status import saved


def test_scrub_tells_never_fresh_overdue_and_damaged_apart(vault: LocalVault, clock: Hours) -> None:
    never = scrub(world(vault, clock))
    assert (never.exit, never.outcomes[0].message) == (Exit.FAILED, "never scrubbed")
    scrubbed(vault, clock)
    clock.tick()
    assert scrub(world(vault, clock)).exit is Exit.OK
    clock.tick(100)
    assert scrub(world(vault, clock)).exit is Exit.FAILED
    scrubbed(vault, clock, errors=2)
    clock.tick()
    assert scrub(world(vault, clock)).exit is Exit.DAMAGE


def test_scrub_warns_of_a_failing_disk(vault: LocalVault, clock: Hours) -> None:
    scrubbed(vault, clock, device_errors=7)
    report = scrub(world(vault, clock))
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    assert "7 read, write or checksum errors" in of(report, "tank").message
    assert of(report, "tank").data["device_errors"] == 7
    assert "zpool clear" in of(report, "tank").remedy


def test_status_tells_overdue_hosts_from_saved_facts(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    dataset_only(vault, "never")
    context = world(vault, clock)
    scrubbed(vault, clock)
    night(context, allow_partial=True)
    report = saved(context.config, context.runs, context.locks, clock.now)
    assert of(report, "web1").status is Status.OK
    assert "never backed up" in of(report, "never").message
    assert report.exit is Exit.FAILED
    late = saved(context.config, context.runs, context.locks, clock.now + timedelta(hours=5))
    assert "overdue" in of(late, "web1").message


def test_status_calls_nothing_good_that_has_grown_old(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    for step in ("snapshot", "rotate", "replicate offsite", "scrub"):
        assert (shown(vault, clock, step).status, shown(vault, clock, step).message) == (
            Status.FAILED,
            "never run",
        )
    scrubbed(vault, clock)
    night(world(vault, clock))
    clock.tick(20)
    for step in ("snapshot", "rotate", "replicate offsite", "scrub"):
        assert shown(vault, clock, step).status is Status.OK
    clock.tick(400 * 24)
    for step in ("snapshot", "rotate", "replicate offsite"):
        assert shown(vault, clock, step).message.startswith("overdue: the limit is 24 hours; 400 days ago")
    assert "scrub overdue" in shown(vault, clock, "tank").message


def test_status_judges_a_pool_by_what_it_has_become_since(vault: LocalVault, clock: Hours) -> None:
    """Seen once a day after a scrub was canceled: a warning then, overdue when nothing followed."""
    dataset_only(vault, "web1")
    scrubbed(vault, clock, scrub_state=Scrub.CANCELED)
    clock.tick()
    assert scrub(world(vault, clock)).status is Status.WARNING
    assert shown(vault, clock, "tank").status is Status.WARNING
    assert "2 of 2 good" in shown(vault, clock, "scrub").message
    clock.tick(48)
    assert shown(vault, clock, "tank").status is Status.FAILED
    assert "no scrub followed" in shown(vault, clock, "offsite:vault").message


@pytest.mark.parametrize(("status", "code"), [(76, Exit.CONFLICT), (2, Exit.OK)])
def test_an_alarm_of_a_host_is_one_in_status_too(
    vault: LocalVault, clock: Hours, status: int, code: Exit
) -> None:
    """However young its last good backup is; a plain failure meanwhile is a warning."""
    host = vault.add("web1")
    scrubbed(vault, clock)
    night(world(vault, clock))
    clock.tick(0.5)
    host.agent.write_text(f"#!/bin/sh\necho 'zborg-agent: refused' >&2\nexit {status}\n")
    backup(world(vault, clock))
    context = world(vault, clock)
    report = saved(context.config, context.runs, context.locks, clock.now)
    assert report.exit is code, report.outcomes
    assert "last good backup 30 minutes ago; the last try" in of(report, "web1").message


def test_status_tells_each_target_by_its_own_last_run(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock))
    context = world(vault, clock)
    (target,) = context.config.targets
    two = replace(context.config, targets=(target, replace(target, name="other", dataset="vault/nowhere")))
    context = replace(context, config=two)
    replicate(context, ["other"])
    clock.tick()
    replicate(context, ["offsite"])
    found = saved(two, context.runs, context.locks, clock.now)
    assert of(found, "replicate other").status is Status.FAILED
    assert of(found, "replicate offsite").status is Status.OK


def test_a_copy_is_not_called_up_to_date_and_behind_at_once(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock))
    replicate(world(vault, clock))
    clock.tick()
    replicate(world(vault, clock))
    assert shown(vault, clock, "replicate offsite").message == "0 seconds ago: 1 of 1 good; nothing behind"
    clock.tick()
    (vault.zfs.directory("tank/borg") / "news").write_text("x")
    snapshot(world(vault, clock))
    words = shown(vault, clock, "replicate offsite").message
    assert words == "60 minutes ago: 1 of 1 good; 1 dataset behind the newest snapshot, up to 60 minutes"


def test_a_run_that_was_refused_hides_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    snapshot(world(vault, clock))
    backup(world(vault, clock))
    clock.tick()
    with world(vault, clock).locks.hold("snapshot"):
        assert snapshot(world(vault, clock)).status is Status.BUSY
    backup(world(vault, clock), Request(exclude=["web1"]))
    assert shown(vault, clock, "snapshot").status is Status.OK
    assert "the last try failed" in shown(vault, clock, "web1").message


def test_status_tells_who_is_at_work(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    context = world(vault, clock)
    with context.locks.hold("host-web1"):
        report = saved(context.config, context.runs, context.locks, clock.now)
    assert f"(pid {os.getpid()})" in of(report, "web1").message
    assert "at work" not in of(report, "web2").message
    after = saved(context.config, context.runs, context.locks, clock.now)
    assert "at work" not in of(after, "web1").message


def test_run_goes_on_after_a_partial_backup_and_ends_with_the_worst_code(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    dataset_only(vault, "dead")
    scrubbed(vault, clock)
    report = night(world(vault, clock))
    assert report.exit is Exit.PARTIAL
    assert {outcome.data.get("step") for outcome in report.outcomes} >= {
        "backup",
        "snapshot",
        "rotate",
        "replicate",
        "scrub",
    }
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    vault.far.snapshot("vault/zborg/web1", "stranger", {})
    clock.tick()
    assert night(world(vault, clock), allow_partial=True).exit is Exit.CONFLICT


@pytest.mark.parametrize("step", [snapshot, rotate, replicate, scrub])
def test_a_step_that_cannot_begin_leaves_a_report(
    vault: LocalVault, clock: Hours, step: Callable[[Context], Report]
) -> None:
    """Or status would go on showing the last good one, and older only by a night."""
    dataset_only(vault, "web1")
    context = world(vault, clock)
    scrubbed(vault, clock)
    night(context)
    for zfs in (vault.zfs, vault.far):
        zfs.pools.clear()
        zfs._all.clear()
    clock.tick()
    report = step(world(vault, clock))
    assert report.exit is Exit.FAILED
    assert all("no such pool" in one.message and one.remedy for one in report.outcomes), report.outcomes
    line = "replicate offsite" if step is replicate else report.command
    shown = of(saved(context.config, context.runs, context.locks, clock.now), line)
    assert shown.status is Status.FAILED
    step(world(vault, clock), dry_run=True)  # type: ignore[call-arg]  # they all have it
    assert context.runs.newest(report.command) == report


def test_a_backup_without_its_pool_fails_every_host(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    vault.zfs.pools.clear()
    vault.zfs._all.clear()
    report = backup(world(vault, clock))
    assert report.exit is Exit.FAILED
    assert {one.subject for one in report.outcomes} == {"web1", "web2"}
    assert "no such pool" in of(report, "web1").message
    shown = saved(vault.config, vault.context().runs, vault.context().locks, clock.now)
    assert "the last try failed" in of(shown, "web1").message


def test_a_bug_in_one_step_is_not_the_end_of_the_night(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_only(vault, "web1")
    scrubbed(vault, clock)

    def broken(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("zborg.steps.rotate.step.plan_rotation", broken)
    report = night(world(vault, clock))
    assert report.exit is Exit.BUG
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    assert shown(vault, clock, "rotate").status is Status.FAILED


def test_dry_run_changes_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 4)
    before = (vault.zfs.snapshots("tank"), vault.zfs.datasets("tank"), vault.far.datasets("vault"))
    report = night(world(vault, clock), dry_run=True)
    assert report.plan
    assert (vault.zfs.snapshots("tank"), vault.zfs.datasets("tank"), vault.far.datasets("vault")) == before


def test_a_pool_that_fills_up_is_told_by_scrub_and_by_status(vault: LocalVault, clock: Hours) -> None:
    for free, level, code in (
        (1 << 36, Status.WARNING, Exit.OK),
        (1 << 35, Status.FAILED, Exit.FAILED),
    ):
        scrubbed(vault, clock, free=free)
        report = scrub(world(vault, clock))
        assert (of(report, "tank").status, report.exit) == (level, code)
        for pool in ("tank", "offsite:vault"):
            told = shown(vault, clock, pool)
            assert told.status is level and "of the pool is used, more than" in told.message


_SUBJECTS = {
    "backup": ("host", "web1"),
    "snapshot": ("dataset", "tank/borg/web1"),
    "replicate": ("dataset", "offsite:vault/zborg/web1"),
    "scrub": ("pool", "tank"),
}


def _all_steps(vault: LocalVault, at: datetime, status: Status) -> None:
    for command, (kind, subject) in _SUBJECTS.items():
        code = Exit.OK if status.good else Exit.FAILED
        told = Outcome(kind, subject, status, f"it was {status.value}")
        runs = Runs(vault.state / "runs")
        runs.save(Report(command, new_run(at), "test", at, at, status, code, (told,)))


def test_a_night_of_a_clock_that_was_ahead_hides_no_later_one(vault: LocalVault) -> None:
    """It would be the newest for a year, and all would look well."""
    dataset_only(vault, "web1")
    now = datetime.now(UTC)
    _all_steps(vault, now + timedelta(days=400), Status.OK)
    ahead = saved(vault.config, Runs(vault.state / "runs"), Locks(vault.state / "locks", ""), now)
    shown = [one for one in ahead.outcomes if one.kind in ("host", "step") and one.subject != "rotate"]
    assert [one.status for one in shown] == [Status.FAILED] * 4
    assert all("still to come" in one.message for one in shown)
    _all_steps(vault, now - timedelta(hours=1), Status.FAILED)
    today = saved(vault.config, Runs(vault.state / "runs"), Locks(vault.state / "locks", ""), now)
    for subject in ("snapshot", "replicate offsite", "scrub"):
        assert of(today, subject).status is Status.FAILED
        assert "it was failed" in of(today, subject).message
    _all_steps(vault, now, Status.OK)
    mended = saved(vault.config, Runs(vault.state / "runs"), Locks(vault.state / "locks", ""), now)
    for subject in ("web1", "snapshot", "replicate offsite", "scrub"):
        assert of(mended, subject).status is Status.OK, subject
