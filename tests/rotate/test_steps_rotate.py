"""rotate on the in-memory ZFS: what is destroyed, what stays, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.steps import backup, rotate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, snapnames, world
from zborg.errors import CommandFailed, Exit
from zborg.interrupt import cancelled
from zborg.model import SnapshotName, State, Status
from zborg.reporting.text import render


def test_rotate_destroys_what_no_rule_keeps_and_says_why_the_rest_stays(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    before = snapnames(vault, "tank/borg/web1")
    vault.zfs.hold("mine", f"tank/borg/web2@{before[0]}")
    dry = rotate(world(vault, clock), dry_run=True)
    assert snapnames(vault, "tank/borg/web1") == before
    assert any("1 hold" in line for line in dry.plan)
    report = rotate(world(vault, clock))
    assert report.exit is Exit.OK
    assert snapnames(vault, "tank/borg/web1") == before[-2:]
    assert snapnames(vault, "tank/borg/web2") == [before[0], *before[-2:]]
    assert of(report, "tank/borg/web1").data["destroyed"] == before[:3]


def test_rotate_leaves_foreign_names_and_the_empty_policy_alone(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.zfs.snapshot("tank/borg/web1", "manual", {})
    nights(vault, clock, 4)
    rotate(world(vault, clock))
    assert "manual" in snapnames(vault, "tank/borg/web1")
    vault.keep = replace(vault.keep, last=0)
    kept = snapnames(vault, "tank/borg/web1")
    report = rotate(world(vault, clock))
    assert snapnames(vault, "tank/borg/web1") == kept
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status) == (Exit.OK, Status.WARNING)
    assert "no retention rule is set" in outcome.message and "[snapshots.keep]" in outcome.remedy


def test_rotate_under_a_clock_that_went_back_is_a_conflict(vault: LocalVault, clock: Hours) -> None:
    """Or an ok would hide for years that nothing is destroyed any more."""
    dataset_only(vault, "web1")
    nights(vault, clock, 5)
    kept = snapnames(vault, "tank/borg/web1")
    clock.tick(-48)
    assert any("the clock (" in line for line in rotate(world(vault, clock), dry_run=True).plan)
    report = rotate(world(vault, clock))
    assert (report.exit, snapnames(vault, "tank/borg/web1")) == (Exit.CONFLICT, kept)
    (outcome,) = report.outcomes
    assert kept[-1] in outcome.message and "2026-02-15T144933Z" in outcome.message.replace(":", "")
    assert "date -u" in outcome.remedy and report.plan


def test_a_stranger_s_snapshot_from_the_future_stops_no_rotation(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    clock.tick(24 * 3650)
    vault.zfs.snapshot("tank/borg/web1", "autosnap", {})
    clock.tick(-24 * 3650)
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert [len(snapnames(vault, f"tank/borg/{host}")) for host in ("web1", "web2")] == [3, 2]


def test_the_word_to_stop_is_heeded_between_two_datasets(
    vault: LocalVault, clock: Hours, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(cancelled.clear)
    dataset_only(vault, "web1", "web2", "web3")
    nights(vault, clock, 5)
    subjects = ["tank/borg", "tank/borg/web1", "tank/borg/web2", "tank/borg/web3"]

    def stop(method: str, arguments: tuple[object, ...]) -> None:
        if method == "destroy" and arguments[0] == "tank/borg/web1":
            cancelled.set()

    vault.zfs.fail = stop
    report = rotate(world(vault, clock))
    assert report.exit is Exit.INTERRUPTED
    assert [of(report, one).message for one in subjects[2:]] == ["not started: interrupted"] * 2
    assert [len(snapnames(vault, one)) for one in subjects] == [2, 2, 5, 5]
    assert rotate(world(vault, clock)).exit is Exit.INTERRUPTED
    cancelled.clear()
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert [len(snapnames(vault, one)) for one in subjects] == [2, 2, 2, 2]


def test_a_record_that_cannot_be_read_stops_its_own_dataset_only(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    kept = snapnames(vault, "tank/borg/web1")
    vault.zfs.set(["tank/borg/web1"], {"zborg:target.old": "guid=1"})
    dry = rotate(world(vault, clock), dry_run=True)
    assert sum("zborg:target.old cannot be read" in line for line in dry.plan) == len(kept)
    report = rotate(world(vault, clock))
    assert (report.exit, snapnames(vault, "tank/borg/web1")) == (Exit.PARTIAL, kept)
    assert snapnames(vault, "tank/borg/web2") == kept[-2:]
    outcome = of(report, "tank/borg/web1")
    assert outcome.status is Status.FAILED and "'guid=1'" in outcome.message
    assert outcome.remedy == "zfs inherit zborg:target.old tank/borg/web1\nzborg replicate"


def test_a_clone_keeps_its_snapshot_and_no_other(vault: LocalVault, clock: Hours) -> None:
    """README's own `zfs clone tank/borg/web1@... tank/rescue`, and what a killed restore leaves."""
    dataset_only(vault, "web1")
    nights(vault, clock, 6)
    before = snapnames(vault, "tank/borg/web1")
    vault.zfs.clone(f"tank/borg/web1@{before[1]}", "tank/rescue")
    dry = rotate(world(vault, clock), dry_run=True)
    assert any(before[1] in line and "cloned as tank/rescue" in line for line in dry.plan)
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert snapnames(vault, "tank/borg/web1") == [before[1], *before[-2:]]


@pytest.mark.parametrize("act", ["hold", "clone"])
def test_what_was_taken_into_use_since_the_plan_is_left_alone(
    vault: LocalVault, clock: Hours, act: str
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 6)
    before = snapnames(vault, "tank/borg/web1")
    used = f"tank/borg/web1@{before[1]}"

    def use(method: str, arguments: tuple[object, ...]) -> None:
        if method == "destroy" and arguments[0] == "tank/borg/web1":
            vault.zfs.fail = None
            vault.zfs.hold("mine", used) if act == "hold" else vault.zfs.clone(used, "tank/rescue")

    vault.zfs.fail = use
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert snapnames(vault, "tank/borg/web1") == [before[1], *before[-2:]]


def test_a_dry_run_tells_the_bytes_per_dataset_and_in_all(vault: LocalVault, clock: Hours) -> None:
    """One command for each dataset that loses something, and only then."""
    dataset_only(vault, "web1", "web2", "new")
    for host, size in (("web1", 3000), ("web2", 2000)):
        (vault.zfs.directory(f"tank/borg/{host}") / "old").write_bytes(bytes(size))
    nights(vault, clock, 1)
    for host in ("web1", "web2"):
        (vault.zfs.directory(f"tank/borg/{host}") / "old").unlink()
    nights(vault, clock, 4)
    for raw in snapnames(vault, "tank/borg/new"):
        vault.zfs.hold("mine", f"tank/borg/new@{raw}")
    asked: list[str] = []
    vault.zfs.fail = lambda method, _: asked.append(method)
    report = rotate(world(vault, clock), dry_run=True)
    assert asked == ["datasets", "snapshots", "freed", "freed", "freed"]
    assert report.exit is Exit.OK and {one.status for one in report.outcomes} == {Status.SKIPPED}
    assert of(report, "tank/borg/web1").data["freed"] == 3000
    assert of(report, "tank/borg/web1").message == "would destroy 3 snapshots and free 2.9 KiB"
    total = report.outcomes[-1]
    assert total.data["freed"] == sum(one.data["freed"] for one in report.outcomes[:-1]) >= 5000
    text = [line.text for line in render(report)]
    assert any("no rule keeps it" in line for line in text) and any("in all" in line for line in text)
    assert text[-1] == "rotate: nothing was done (dry run)"
    assert len(snapnames(vault, "tank/borg/web1")) == 5


def test_a_dry_run_that_cannot_learn_the_bytes_shows_the_plan_and_says_why(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)

    def fail(method: str, arguments: tuple[object, ...]) -> None:
        if method == "freed" and arguments[0] == "tank/borg/web1":
            raise CommandFailed(("zfs", "destroy"), 1, "the pool is suspended")

    vault.zfs.fail = fail
    report = rotate(world(vault, clock), dry_run=True)
    assert report.exit is Exit.FAILED and "suspended" in of(report, "tank/borg/web1").message
    assert "freed" in of(report, "tank/borg/web2").data
    assert any("no rule keeps it" in line.text for line in render(report))


def test_a_rotation_without_news_asks_the_same_however_many_datasets_there_are(
    vault: LocalVault, clock: Hours
) -> None:
    def calls() -> list[str]:
        asked: list[str] = []
        vault.zfs.fail = lambda method, _: asked.append(method)
        assert rotate(world(vault, clock)).exit is Exit.OK
        vault.zfs.fail = None
        return asked

    dataset_only(vault, "web0")
    nights(vault, clock, 2)
    one = calls()
    dataset_only(vault, *(f"web{number}" for number in range(1, 50)))
    nights(vault, clock, 2)
    rotate(world(vault, clock))
    assert calls() == one == ["datasets", "snapshots"]


def test_two_thousand_snapshots_go_in_one_pass(vault: LocalVault, clock: Hours) -> None:
    """One look and one destroy for the dataset; the rest of what it has is not listed again."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    asked: list[str] = []
    for _ in range(1999):
        vault.zfs.snapshot("tank/borg/web1", str(SnapshotName.of(clock.now)), {})
        clock.tick(1)
    vault.zfs.fail = lambda method, _: asked.append(method)
    report = rotate(world(vault, clock))
    assert len(of(report, "tank/borg/web1").data["destroyed"]) == 1998
    assert asked == ["datasets", "snapshots", "destroy"]


def test_rotate_keeps_the_last_good_one_however_old(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    backup(world(vault, clock))
    clock.tick()
    nights(vault, clock, 6)
    good = next(s.snapname for s in vault.zfs.snapshots("tank/borg/web1") if s.state is State.OK)
    rotate(world(vault, clock))
    assert good in snapnames(vault, "tank/borg/web1")
