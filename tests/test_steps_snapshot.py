"""snapshot: one instant, and what each dataset is marked with."""

from __future__ import annotations

import os

from tests.harness.local import LocalVault
from tests.harness.steps import Hours, dataset_only, destroy, of, raws, world
from zborg.errors import Exit
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, State, Status
from zborg.steps.backup import Options, backup
from zborg.steps.snapshot import snapshot


def test_snapshot_is_one_instant_and_marks_each_dataset(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    dataset_only(vault, "dead")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    report = snapshot(context)
    found = {s.dataset: s for s in vault.zfs.snapshots("tank/borg")}
    assert {s.raw for s in found.values()} == {"zborg_2026-02-12T154933Z"}
    assert {s.properties[P_RUN] for s in found.values()} == {report.run}
    assert found["tank/borg/web1"].properties[P_STATE] == "ok"
    assert int(found["tank/borg/web1"].properties[P_TRANSACTION]) > 0
    assert found["tank/borg/dead"].properties[P_STATE] == "failed"
    assert P_STATE not in found["tank/borg"].properties


def test_a_snapshot_without_a_backup_before_it_is_never_called_good(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    clock.tick()
    snapshot(context)
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_backup_whose_commit_is_gone_is_not_called_good(vault: LocalVault, clock: Hours) -> None:
    """Between backup and snapshot somebody set the dataset aside and made a new one, or rolled it back."""
    vault.add("web1")
    backup(world(vault, clock), Options())
    (vault.zfs.directory("tank/borg/web1") / "transactions").unlink()
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.FAILED]


def test_what_was_snapshotted_is_old_although_the_roots_snapshots_are_gone(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    backup(world(vault, clock), Options())
    clock.tick()
    snapshot(world(vault, clock))
    destroy(vault.zfs, "tank/borg", *raws(vault, "tank/borg"))
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_restore_meanwhile_costs_no_good_mark(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    with context.locks.hold("restore-web1"):
        snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK]


def test_a_host_without_a_dataset_is_said(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.endpoints["new"] = vault.endpoints["web1"]
    report = snapshot(world(vault, clock))
    assert report.exit is Exit.OK
    assert (of(report, "tank/borg/new").status, of(report, "tank/borg/new").remedy) == (
        Status.WARNING,
        "zborg init new",
    )


def test_a_host_at_work_is_marked_busy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    context = world(vault, clock)
    with context.locks.hold("host-web1"):
        snapshot(context)
    (taken,) = vault.zfs.snapshots("tank/borg/web1")
    assert taken.state is State.BUSY


def test_snapshot_refuses_a_clock_behind_the_newest(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock))
    clock.tick(-2)
    report = snapshot(world(vault, clock))
    assert (report.exit, len(raws(vault, "tank/borg/web1"))) == (Exit.CONFLICT, 1)
    assert "is already there" in report.outcomes[0].message


def test_two_snapshots_at_once_the_second_is_busy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    context = world(vault, clock)
    with context.locks.hold("snapshot"):
        report = snapshot(context)
    assert report.exit is Exit.LOCKED
    assert f"pid {os.getpid()}" in report.outcomes[0].message
