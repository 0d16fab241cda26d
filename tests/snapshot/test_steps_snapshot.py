"""snapshot: one instant, and what each dataset is marked with."""

from __future__ import annotations

import os

import pytest

from tests.harness.steps import backup, list_holds, list_snapshots, place_holds, replicate, rotate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, destroy, nights, of, shown, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, State, Status
from zborg.model.storage.zfs import P_LABEL
from zborg.model.text.remedy import parse
from zborg.steps.rotate.holds import Placing


def test_snapshot_is_one_instant_and_marks_each_dataset(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    dataset_only(vault, "dead")
    context = world(vault, clock)
    backup(context)
    clock.tick()
    report = snapshot(context)
    found = {s.dataset: s for s in vault.zfs.snapshots("tank/borg")}
    assert {s.snapname for s in found.values()} == {"zborg_2026-02-12T154933Z"}
    assert {s.properties[P_RUN] for s in found.values()} == {report.run}
    assert found["tank/borg/web1"].properties[P_STATE] == "ok"
    assert int(found["tank/borg/web1"].properties[P_TRANSACTION]) > 0
    assert found["tank/borg/dead"].properties[P_STATE] == "failed"
    assert P_STATE not in found["tank/borg"].properties


def test_a_snapshot_without_a_backup_before_it_is_never_called_good(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context)
    clock.tick()
    snapshot(context)
    clock.tick()
    nights(vault, clock, 1)
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_backup_whose_commit_is_gone_is_not_called_good(vault: LocalVault, clock: Hours) -> None:
    """Between backup and snapshot somebody set the dataset aside and made a new one, or rolled it back."""
    vault.add("web1")
    backup(world(vault, clock))
    (vault.zfs.directory("tank/borg/web1") / "transactions").unlink()
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.FAILED]


def test_what_was_snapshotted_is_old_although_the_roots_snapshots_are_gone(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    backup(world(vault, clock))
    clock.tick()
    snapshot(world(vault, clock))
    destroy(vault.zfs, "tank/borg", *snapnames(vault, "tank/borg"))
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_restore_meanwhile_costs_no_good_mark(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context)
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
    assert (report.exit, len(snapnames(vault, "tank/borg/web1"))) == (Exit.CONFLICT, 1)
    assert "is already there" in report.outcomes[0].message


def test_two_snapshots_at_once_the_second_is_busy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    context = world(vault, clock)
    with context.locks.hold("snapshot"):
        report = snapshot(context)
    assert report.exit is Exit.LOCKED
    assert f"pid {os.getpid()}" in report.outcomes[0].message


# --- nothing new ------------------------------------------------------------------------------------------


def test_without_news_none_is_taken_and_status_has_nothing_to_say_against_it(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    backup(world(vault, clock))
    clock.tick()
    snapshot(world(vault, clock))
    before = snapnames(vault, "tank/borg/web1")
    clock.tick(24 * 3)
    dry = snapshot(world(vault, clock), dry_run=True)
    assert dry.plan == (f"nothing changed since {before[0]}, so none is taken",)
    report = snapshot(world(vault, clock))
    (outcome,) = report.outcomes
    assert (report.exit, report.status, outcome.status) == (Exit.OK, Status.OK, Status.SKIPPED)
    assert before[0] in outcome.message and snapnames(vault, "tank/borg/web1") == before
    step = shown(vault, clock, "snapshot")
    assert step.status is Status.OK and "overdue" not in step.message and "nothing changed" in step.message


def test_whatever_is_new_is_a_reason_for_a_snapshot(vault: LocalVault, clock: Hours) -> None:
    """Bytes in one dataset, a new dataset, a dataset whose newest snapshot somebody destroyed, a commit that
    ZFS has not counted yet."""
    vault.add("web1")
    dataset_only(vault, "web2")
    backup(world(vault, clock))

    def taken() -> bool:
        clock.tick()
        before = len(vault.zfs.snapshots("tank/borg/web1"))
        snapshot(world(vault, clock))
        return len(vault.zfs.snapshots("tank/borg/web1")) > before

    assert taken() and not taken()
    (vault.zfs.directory("tank/borg/web2") / "by hand").write_text("x")
    assert taken() and not taken()
    (vault.zfs.directory("tank/borg/web2") / "by hand").unlink()
    assert taken() and not taken()
    dataset_only(vault, "web3")
    assert taken() and not taken()
    destroy(vault.zfs, "tank/borg/web2", snapnames(vault, "tank/borg/web2")[-1])
    assert taken() and not taken()
    last = vault.zfs.snapshots("tank/borg/web1")[-1]
    vault.zfs.set([last.full], {P_TRANSACTION: "1"})
    assert taken() and not taken()


def test_what_somebody_elses_snapshot_has_taken_in_is_news_all_the_same(
    vault: LocalVault, clock: Hours
) -> None:
    """`written` counts from the newest snapshot, whoever took it: an hourly one of the whole pool, say."""
    dataset_only(vault, "web1")
    vault.zfs.create("tank/borg/of-no-host", {})
    nights(vault, clock, 1)
    (vault.zfs.directory("tank/borg/of-no-host") / "file").write_text("x")
    vault.zfs.snapshot("tank/borg", "autosnap_hourly", {})
    clock.tick()
    assert snapshot(world(vault, clock)).outcomes[0].status is Status.OK
    assert len(snapnames(vault, "tank/borg/of-no-host")) == 3


def test_a_backup_that_came_to_nothing_is_news(vault: LocalVault, clock: Hours) -> None:
    """The mark tells a restore in a month that this night had no backup."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    snapshot(world(vault, clock))
    backup(world(vault, clock))  # nobody answers there
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [None, State.FAILED]


def test_a_host_without_a_dataset_is_told_all_the_same(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    vault.endpoints["lost"] = vault.endpoint(1, "ssh-ed25519 AAAA")
    report = snapshot(world(vault, clock))
    assert [one.status for one in report.outcomes] == [Status.SKIPPED, Status.WARNING]


# --- labels -----------------------------------------------------------------------------------------------


def test_a_labelled_one_is_taken_whatever_changed_and_shown_by_its_label(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    dry = snapshot(world(vault, clock), label="before-upgrade", dry_run=True)
    assert dry.plan[0].endswith("at once, labelled before-upgrade")
    report = snapshot(world(vault, clock), label="before-upgrade")
    labelled = vault.zfs.snapshots("tank/borg/web1")[-1]
    assert labelled.properties[P_LABEL] == labelled.label == "before-upgrade" and labelled.name
    sentence, commands = parse(report.outcomes[-1].remedy)
    assert sentence and commands == ("zborg holds place before-upgrade",)
    listed = list_snapshots(world(vault, clock), "web1").outcomes[-1]
    assert "labelled before-upgrade" in listed.message and listed.data["label"] == "before-upgrade"
    placed = place_holds(world(vault, clock), Placing("before-upgrade", ("web1",), "ops"))
    assert placed.outcomes[0].subject == labelled.full
    held = list_holds(world(vault, clock)).outcomes[0]
    assert "labelled before-upgrade" in held.message and held.data["label"] == "before-upgrade"


def test_a_label_names_and_a_hold_keeps(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    for label in ("held", "let-go"):
        snapshot(world(vault, clock), label=label)
        clock.tick(24)
    nights(vault, clock, 5)
    place_holds(world(vault, clock), Placing("held", ("web1",), "ops"))
    lines = rotate(world(vault, clock), dry_run=True).plan
    assert any("keep" in line and "(labelled held)" in line for line in lines)
    assert any("destroy" in line and "(labelled let-go)" in line for line in lines)
    rotate(world(vault, clock))
    assert [s.label for s in vault.zfs.snapshots("tank/borg/web1")] == ["held", "", ""]


def test_a_bad_label_is_refused_before_anything_is_done(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    for bad in ("", "two words", "2026-02-12", "zborg_mine"):
        with pytest.raises(UsageError, match="--label"):
            snapshot(world(vault, clock), label=bad)
    assert snapnames(vault, "tank/borg/web1") == []


def test_a_label_goes_with_the_copy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock), label="before-upgrade")
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert [s.label for s in vault.far.snapshots("vault/zborg/web1")] == ["before-upgrade"]
