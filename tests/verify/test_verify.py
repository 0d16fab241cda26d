"""Whole repositories are read and compared with the ledger: what disks and intruders do to them is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.audit import tampering
from tests.harness.audit.segments import MANIFEST
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.steps import audit, night, rotate, snapshot, verify_hosts
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, shown, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Outcome, Reverse, Status
from zborg.model.ledger import verified
from zborg.model.ledger.entries import VERIFY, parse
from zborg.model.results import VerifiedHost
from zborg.state.locks import Locks

DATASET = "tank/borg/web1"
DAY = 86400


@pytest.fixture
def scene(vault: LocalVault, clock: Hours) -> AuditedVault:
    return audited_vault(vault, clock)


def facts(outcome: Outcome) -> VerifiedHost:
    assert isinstance(outcome.result, VerifiedHost), outcome
    return outcome.result


def clones(scene: AuditedVault) -> list[str]:
    return [one.name for one in scene.vault.zfs.datasets("tank") if "/zborg-scratch/" in one.name]


def recorded(scene: AuditedVault) -> list[verified.Verified]:
    """By verify, in the ledger."""
    lines = (scene.vault.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl").read_text().splitlines()
    return [verified.verified(one) for one in map(parse, lines) if one.kind == VERIFY]


@contextmanager
def changed(home: Path, act: Callable[[Path], None]) -> Iterator[str]:
    """While it lasts; yields the name of the object that may be changed."""
    copy = home.with_name(f"{home.name}.copy")
    shutil.copytree(home, copy, symlinks=True)
    name = str(tampering.largest(home).relative_to(home / "data"))
    try:
        act(home)
        yield name
    finally:
        shutil.rmtree(home)
        copy.rename(home)


def test_a_good_repository_is_verified(scene: AuditedVault) -> None:
    outcome = scene.verified()
    assert outcome.status is Status.OK, outcome
    found = facts(outcome)
    assert (found.structure, found.damages, found.unrecorded) == ("good", 0, 0)
    assert found.objects == len(list(scene.tree().glob("data/*/*")))
    assert found.bytes == sum(path.stat().st_size for path in scene.tree().glob("data/*/*"))
    (entry,) = recorded(scene)
    assert (entry.snapshot, entry.objects, entry.whole) == (found.snapshot, found.objects, True)
    assert clones(scene) == []
    assert scene.night().status is Status.OK, "audit goes on behind it"
    scene.vault.reverse["web1"] = Reverse(0, "127.0.0.1:22")
    assert scene.verified().status is Status.OK, "its own borgmatic wrote it"


DAMAGES = [
    (tampering.flipped, "changed", "bad"),
    (tampering.repaired, "changed", "good"),  # what CRCs cannot show
    (tampering.truncated, "resized", "bad"),
    (tampering.emptied, "resized", "bad"),
    (tampering.removed, "gone", "bad"),
]


def test_every_kind_of_damage_is_found_with_the_newest_whole_snapshot(scene: AuditedVault) -> None:
    whole = f"{DATASET}@{snapnames(scene.vault, DATASET)[-2]}"
    for act, fault, structure in DAMAGES:
        with changed(scene.tree(), act) as name:
            outcome = scene.verified()
        found, label = facts(outcome), act.__name__
        assert outcome.status is Status.DAMAGED, (label, outcome)
        assert (found.damages, found.structure) == (1, structure), (label, outcome)
        assert found.damaged[0].startswith(f"{name} {fault} "), (label, outcome)
        if scene.tree(-2).joinpath("data", name).exists():
            assert found.whole_in == whole, (label, outcome)
            assert f"cp {scene.vault.zfs.directory(DATASET)}/.zfs/snapshot/" in outcome.remedy, outcome
        assert recorded(scene)[-1].damaged == ((name, fault),), label
        assert "borg check --repair" not in outcome.remedy
    assert "web1" in scene.vault.context().frozen.now()
    assert scene.verified().status is Status.OK, "it was put back"
    assert clones(scene) == []


def test_bisection_names_the_last_snapshot_before_the_damage(scene: AuditedVault) -> None:
    for _ in range(3):
        assert scene.night().status is Status.OK
    names = snapnames(scene.vault, DATASET)
    new = {path.name for path in scene.tree(1).glob("data/0/*")}
    new -= {path.name for path in scene.tree(0).glob("data/0/*")}
    name = f"0/{min(new, key=int)}"
    for number in range(3, len(names)):
        path = scene.tree(number) / "data" / name
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    outcome = scene.verified()
    assert outcome.status is Status.DAMAGED
    assert facts(outcome).whole_in == f"{DATASET}@{names[2]}"
    (held,) = scene.vault.zfs.holds([f"{DATASET}@{names[2]}"])
    assert held.tag == "zborg:keep:verify:-"
    assert facts(outcome).archives_since is not None
    assert "archives from then on may need it" in outcome.message
    older = scene.verified(at=names[2])
    assert older.status is Status.OK, older


@pytest.mark.parametrize(
    ("act", "fault"),
    [(tampering.repaired, "changed"), (tampering.removed, "gone"), (tampering.truncated, "resized")],
)
def test_what_audit_has_seen_damaged_is_not_taken_for_its_record(
    scene: AuditedVault, act: Callable[[Path], None], fault: str
) -> None:
    """An audit after the damage records what is there by then."""
    act(scene.home)
    assert scene.audited().status is Status.DAMAGED
    outcome = scene.verified()
    assert outcome.status is Status.DAMAGED, outcome
    assert f" {fault} " in facts(outcome).damaged[0]


def test_an_index_that_is_destroyed_is_no_damage_of_objects(scene: AuditedVault) -> None:
    older = scene.tree(-2)
    with changed(scene.tree(), lambda home: tampering.index_replaced(home, older)):
        outcome = scene.verified()
    assert (outcome.status, facts(outcome).structure) == (Status.WARNING, "index-inconsistent"), outcome
    assert outcome.remedy.splitlines()[1].startswith(f"rm -f {scene.home}/index."), outcome.remedy
    assert recorded(scene)[-1].whole
    with changed(scene.tree(), tampering.index_destroyed):
        assert scene.verified().status is Status.OK, "borg makes it anew by itself"


def test_objects_that_a_host_emptied_are_no_damage_of_disks(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        for one in rpc.call("list", limit=10):
            if one != MANIFEST:
                rpc.call("put", id=one, data=b"")
        rpc.call("commit")
    assert scene.audited().status is Status.DAMAGED, "which audit finds"
    outcome = scene.verified()
    assert (facts(outcome).damages, outcome.status.bad) == (0, False), outcome


def test_a_repository_that_crashes_borg_is_a_finding_and_the_others_go_on(scene: AuditedVault) -> None:
    dataset_only(scene.vault, "web0")
    other = scene.vault.zfs.directory("tank/borg/web0")
    shutil.copytree(scene.home, other, dirs_exist_ok=True)
    tampering.carriage_return(other)
    scene.clock.tick()
    snapshot(world(scene.vault, scene.clock), label="always")
    scene.clock.tick()
    audit(world(scene.vault, scene.clock))
    scene.clock.tick()
    report = verify_hosts(world(scene.vault, scene.clock))
    bad, good = of(report, "web0"), of(report, "web1")
    assert (bad.status, facts(bad).structure, facts(bad).damages) == (Status.DAMAGED, "crashed", 0), bad
    assert good.status is Status.OK, good
    assert report.exit is Exit.DAMAGE
    assert shown(scene.vault, scene.clock, "verify").status is Status.DAMAGED


def test_objects_that_no_audit_has_seen_are_not_called_damaged(scene: AuditedVault) -> None:
    audited = snapnames(scene.vault, DATASET)[-1]
    scene.backed_up()
    snapshot(world(scene.vault, scene.clock))
    newest = snapnames(scene.vault, DATASET)[-1]
    assert facts(scene.verified()).snapshot == audited, "the newest that was audited"
    outcome = scene.verified(at=newest)
    assert (outcome.status, facts(outcome).unrecorded > 0) == (Status.OK, True), outcome
    assert "newer than the last audit not compared" in outcome.message
    with changed(scene.tree(), tampering.flipped):
        assert scene.verified(at=newest).status is Status.DAMAGED


def test_a_night_reads_its_share_and_status_shows_it(scene: AuditedVault) -> None:
    scene.vault.backup["verify_every"] = 30 * DAY
    assert shown(scene.vault, scene.clock, "verify").status is Status.PENDING
    report = night(world(scene.vault, scene.clock))
    (mine,) = (one for one in report.outcomes if one.kind == "verify")
    assert (mine.subject, mine.status, mine.result.step) == ("web1", Status.OK, "verify")
    assert shown(scene.vault, scene.clock, "verify").message.startswith("1 of 1 host verified within 30 days")
    scene.clock.tick(24)
    again = night(world(scene.vault, scene.clock))
    assert not any(one.kind == "verify" for one in again.outcomes), "it was read yesterday"
    scene.clock.tick(35 * 24)
    late = shown(scene.vault, scene.clock, "verify")
    assert (late.status, late.remedy) == (Status.FAILED, "zborg verify"), late


def test_what_a_killed_run_left_is_removed_by_the_next(scene: AuditedVault) -> None:
    newest = snapnames(scene.vault, DATASET)[-1]
    for name in ("web1", "other"):  # not only that of the host that is read next
        scene.vault.zfs.clone(f"{DATASET}@{newest}", f"tank/zborg-scratch/20260212T000000Z-dead/{name}")
    with Locks(scene.vault.state / "locks", "zborg restore").hold("restore-other"):
        assert scene.verified().status is Status.OK
        assert [one.rpartition("/")[2] for one in clones(scene)][1:] == ["other"], "somebody is at work"
    assert scene.verified().status is Status.OK
    assert clones(scene) == []
    scene.vault.zfs.clone(f"{DATASET}@{newest}", "tank/zborg-scratch/20260212T000000Z-dead/web1")
    rotate(world(scene.vault, scene.clock))
    assert clones(scene) == []


def test_an_interrupted_run_leaves_no_clone(scene: AuditedVault, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        assert clones(scene), "it is at work"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zborg.steps.verify.reading.check", stopped)
        with pytest.raises(KeyboardInterrupt):
            scene.verified()
    assert clones(scene) == []


def test_a_host_that_is_restored_just_now_is_busy(scene: AuditedVault) -> None:
    with Locks(scene.vault.state / "locks", "zborg restore").hold("restore-web1"):
        outcome = scene.verified()
    assert outcome.status is Status.BUSY, outcome
    assert recorded(scene) == []


def test_an_object_that_was_damaged_before_its_first_audit_is_no_matter_of_the_index(
    scene: AuditedVault,
) -> None:
    assert scene.backed_up(size=900_000).status.good
    tampering.flipped(scene.home)
    assert scene.audited().status is Status.DAMAGED
    outcome = scene.verified()
    assert (outcome.status, facts(outcome).structure) == (Status.DAMAGED, "bad"), outcome
    assert facts(outcome).damages == 0, "it is what was recorded"


def test_a_snapshot_is_of_one_host(scene: AuditedVault) -> None:
    with pytest.raises(UsageError, match="is no target"):
        verify_hosts(world(scene.vault, scene.clock), at="yesterday")
