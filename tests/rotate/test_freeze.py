"""Rotation frozen by an alarm stays frozen until a person releases it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.builders.reports import result
from tests.harness.steps import freeze, release, rotate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Outcome, Report, Status
from zborg.model.text.units import moment
from zborg.state.frozen import Frozen
from zborg.steps.context import Context
from zborg.steps.observe.status import saved

WEB, MAIL = "tank/borg/web1", "tank/borg/mail"


@pytest.fixture
def kept(vault: LocalVault, clock: Hours) -> LocalVault:
    """Two hosts with four snapshots each, of which the policy keeps the last two."""
    dataset_only(vault, "web1", "mail")
    nights(vault, clock, 4)
    return vault


def backed_up(context: Context, clock: Hours, status: Status, message: str = "ALARM: older state") -> None:
    """The report of a backup of web1."""
    data = {"finished": moment(clock.now)}
    outcome = Outcome("host", "web1", status, message, result=result("host", data))
    run = f"{clock.now:%Y%m%dT%H%M%SZ}-test"
    context.runs.save(Report("backup", run, "test", clock.now, clock.now, status, Exit.CONFLICT, (outcome,)))
    clock.tick()


@pytest.mark.parametrize("status", [Status.CONFLICT, Status.DAMAGED])
def test_an_alarm_freezes_that_host_and_no_other(kept: LocalVault, clock: Hours, status: Status) -> None:
    context = world(kept, clock)
    backed_up(context, clock, status)
    before = snapnames(kept, WEB)
    report = rotate(context)
    assert snapnames(kept, WEB) == before and len(before) == 4
    assert len(snapnames(kept, MAIL)) == 2
    outcome = of(report, WEB)
    assert (report.exit, outcome.status) == (Exit.OK, Status.WARNING)
    assert "kept all 4: rotation is frozen" in outcome.message and "older state" in outcome.message
    assert outcome.remedy.endswith("zborg rotate --release web1")
    assert any("rotation is frozen" in line for line in report.plan if "zborg_" in line)


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED, Status.BUSY, Status.SKIPPED])
def test_what_is_no_alarm_freezes_nothing(kept: LocalVault, clock: Hours, status: Status) -> None:
    context = world(kept, clock)
    backed_up(context, clock, status)
    rotate(context)
    assert len(snapnames(kept, WEB)) == 2
    assert not context.frozen.now()


def test_good_nights_do_not_thaw_and_a_release_does(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    backed_up(context, clock, Status.CONFLICT)
    rotate(context)
    clock.tick()
    for _ in range(3):
        backed_up(context, clock, Status.OK, "")
        rotate(context)
        clock.tick()
    assert len(snapnames(kept, WEB)) == 4
    assert release(context, ["web1"]).exit is Exit.OK
    clock.tick()
    rotate(context)
    assert len(snapnames(kept, WEB)) == 2
    with pytest.raises(UsageError, match="not frozen: web1"):
        release(context, ["web1"])


def test_the_alarm_that_was_released_does_not_freeze_again_and_a_new_one_does(
    kept: LocalVault, clock: Hours
) -> None:
    """No rotation ran in between: the backup's report is still the newest."""
    context = world(kept, clock)
    freeze(context, ["web1"])
    backed_up(context, clock, Status.CONFLICT)
    release(context, ["web1"])
    clock.tick()
    rotate(context)
    assert len(snapnames(kept, WEB)) == 2
    nights(kept, clock, 2)
    backed_up(context, clock, Status.CONFLICT)
    rotate(context)
    assert len(snapnames(kept, WEB)) == 4


def test_a_dry_run_shows_the_freeze_and_does_not_write_it(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    backed_up(context, clock, Status.CONFLICT)
    assert any("rotation is frozen" in line for line in rotate(context, dry_run=True).plan)
    assert not context.frozen.now()


def test_a_freeze_by_hand_keeps_the_reason_of_an_earlier_one(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    backed_up(context, clock, Status.CONFLICT)
    rotate(context)
    freeze(context, ["web1", "mail"])
    reasons = {name: one.reason for name, one in context.frozen.now().items()}
    assert reasons["mail"] == "by hand" and "older state" in reasons["web1"]
    with pytest.raises(UsageError, match="no such host"):
        freeze(context, ["nobody"])


def test_a_record_that_cannot_be_read_counts_as_frozen(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    freeze(context, ["web1"])
    (kept.state / "frozen" / "web1.json").write_text('{"reason"')
    rotate(context)
    assert len(snapnames(kept, WEB)) == 4
    assert release(context, ["web1"]).exit is Exit.OK
    assert not context.frozen.now()


def test_status_shows_what_is_frozen(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    freeze(context, ["mail"])
    report = saved(context.config, context.runs, context.locks, clock.now, context.frozen.now())
    (shown,) = [outcome for outcome in report.outcomes if outcome.kind == "rotate"]
    assert (shown.subject, shown.status) == ("mail", Status.WARNING)
    assert "by hand" in shown.message


def test_a_disk_that_is_full_stops_the_rotation_and_not_the_freeze(kept: LocalVault, clock: Hours) -> None:
    """Nothing may be destroyed before the freeze is on disk."""
    context = world(kept, clock)
    backed_up(context, clock, Status.CONFLICT)
    (kept.state / "frozen").write_text("no directory")
    broken = replace(context, frozen=Frozen(kept.state / "frozen"))
    with pytest.raises(OSError, match="Not a directory|File exists"):
        rotate(broken)
    assert len(snapnames(kept, MAIL)) == 4


def test_a_rotation_that_could_not_begin_does_not_hide_an_alarm(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    backed_up(context, clock, Status.DAMAGED)
    with context.locks.hold("snapshot"):
        assert rotate(context).exit is Exit.LOCKED
    clock.tick(24)
    rotate(context)
    assert len(snapnames(kept, WEB)) == 4
    assert set(context.frozen.now()) == {"web1"}


def test_a_frozen_host_that_has_left_the_configuration_can_be_released(
    kept: LocalVault, clock: Hours
) -> None:
    freeze(world(kept, clock), ["web1"])
    del kept.endpoints["web1"]
    context = world(kept, clock)
    assert release(context, ["web1"]).exit is Exit.OK
    assert not context.frozen.now()
