"""What hosts have pruned is freed, and nothing else is. Real borg, sshd, agent and reader."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.harness.audit.segments import MANIFEST
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.machines.borgs import BORGS
from tests.harness.machines.hostile.rpc import Rpc
from tests.harness.steps import compact, night, release, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Seconds, dataset_only, of, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Outcome, Report, Status
from zborg.model.ledger.sessions import Purpose
from zborg.model.results import CompactedHost
from zborg.steps.compact.facts import records_of


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture(params=BORGS)
def scene(vault: LocalVault, clock: Seconds, request: pytest.FixtureRequest) -> AuditedVault:
    return audited_vault(vault, clock, borg=request.param)


@pytest.fixture
def newer(vault: LocalVault, clock: Seconds) -> AuditedVault:
    return audited_vault(vault, clock)


def result(outcome: Outcome) -> CompactedHost:
    assert isinstance(outcome.result, CompactedHost), outcome
    return outcome.result


def holds(scene: AuditedVault) -> list[tuple[str, str]]:
    names = [f"tank/borg/web1@{name}" for name in snapnames(scene.vault, "tank/borg/web1")]
    found = scene.vault.zfs.holds(names)
    return [(one.snapshot.partition("@")[2], one.tag) for one in found if one.tag.startswith("zborg:keep:")]


def delete_largest(rpc: Rpc, count: int) -> None:
    """So many that a compaction is worth it, whatever their random ids."""
    numbers = [one for one in rpc.call("list", limit=1000) if one != MANIFEST]
    for number in sorted(numbers, key=lambda one: len(rpc.call("get", id=one)))[-count:]:
        rpc.call("delete", id=number)
    rpc.call("commit")


def test_what_a_host_pruned_is_freed_and_stays_in_a_held_snapshot(scene: AuditedVault) -> None:
    assert scene.backed_up(2_000_000).status.good
    assert scene.pruned().status is Status.OK
    before, archives = scene.size, scene.archives()
    assert len(archives) == 1
    outcome = scene.compacted()
    assert outcome.status is Status.OK, outcome
    assert result(outcome).freed > 2_000_000 and scene.size < before - 2_000_000
    until = (scene.clock.now + timedelta(days=14)).date()
    assert holds(scene) == [(result(outcome).before, f"zborg:keep:compact:{until}")]
    assert scene.archives() == archives
    assert scene.checks()
    assert scene.night().status is Status.OK, "audit compares with what is there now"
    assert len(scene.archives()) == 2
    again = scene.compacted()
    assert again.status is Status.SKIPPED, again


def test_a_hostile_delete_is_not_made_final(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        delete_largest(rpc, 4)
    last = scene.last
    assert scene.audited().status is Status.DAMAGED
    before = scene.size
    refused = scene.compacted()
    assert refused.status is Status.CONFLICT
    assert (
        "4 objects deleted in transaction" in refused.message
        and "lost for good: 4 objects" in refused.message
    )
    assert f"zborg compact web1 --approve {last}" in refused.remedy
    release(world(scene.vault, scene.clock), ["web1"])
    assert scene.audited().status is Status.OK, "a person looked into it"
    assert scene.compacted().status is Status.CONFLICT, "which is no approval"
    assert scene.size == before
    approved = scene.compacted(last)
    assert approved.status is Status.OK, approved
    assert scene.size < before


def test_while_a_finding_is_open_nothing_is_freed(newer: AuditedVault) -> None:
    assert newer.pruned().status is Status.OK
    (newer.home / "secret").symlink_to("/etc/shadow")
    assert newer.audited().status is Status.DAMAGED
    refused = newer.compacted()
    assert (refused.status, refused.message) == (
        Status.CONFLICT,
        "not compacted: a finding is open, and its rotation frozen",
    )


def test_what_is_not_to_be_approved_is_refused(newer: AuditedVault) -> None:
    context = world(newer.vault, newer.clock)
    with pytest.raises(UsageError, match="no approval is needed for 7, but for: none"):
        compact(context, ["web1"], [7])
    dataset_only(newer.vault, "web2")
    with pytest.raises(UsageError, match="the name of one host"):
        compact(world(newer.vault, newer.clock), ["web1", "web2"], [7])


def test_a_dry_run_frees_nothing_and_says_how_much_it_would(newer: AuditedVault) -> None:
    assert newer.pruned().status is Status.OK
    before, snapshots = newer.size, snapnames(newer.vault, "tank/borg/web1")
    report = compact(world(newer.vault, newer.clock), ["web1"], dry_run=True)
    assert len(report.plan) == 1 and report.plan[0].startswith("compact web1: frees ")
    assert newer.size == before and snapnames(newer.vault, "tank/borg/web1") == snapshots


def test_a_rewrite_without_room_is_refused(newer: AuditedVault) -> None:
    assert newer.pruned().status is Status.OK
    newer.vault.zfs.available = (1 << 30) - 1  # less than min_free
    refused = newer.compacted()
    assert refused.status is Status.FAILED and "are free in tank/borg/web1" in refused.message


def nightly(scene: AuditedVault) -> Report:
    scene.clock.tick(24)
    (scene.host.data / f"file{scene.clock.now:%d%H}").write_bytes(b"news" * 1000)
    return night(world(scene.vault, scene.clock))


def test_a_night_compacts_by_its_schedule_and_lets_go_what_was_held_long_enough(newer: AuditedVault) -> None:
    newer.vault.backup |= {"compact_every": 3 * 86400, "quarantine": 2 * 86400}
    assert newer.pruned().status is Status.OK
    first = [one for one in nightly(newer).outcomes if one.kind == "compact"]
    assert [one.status for one in first] == [Status.OK], first
    held = holds(newer)
    assert [tag[:19] for _, tag in held] == ["zborg:keep:compact:"]
    assert [one for one in nightly(newer).outcomes if one.kind == "compact"] == []
    assert holds(newer) == held
    later = [*nightly(newer).outcomes, *nightly(newer).outcomes]
    (ended,) = (one for one in later if one.kind == "quarantine")
    assert "the quarantine of" in ended.message and holds(newer) == []
    (left,) = (one for one in later if one.kind == "compact")
    assert left.status is Status.SKIPPED, "a night's manifest is not worth it"


def test_without_a_quarantine_nothing_is_held_behind_it(newer: AuditedVault) -> None:
    newer.vault.backup["quarantine"] = 0
    assert newer.pruned().status is Status.OK
    outcome = newer.compacted()
    assert outcome.status is Status.OK, outcome
    assert holds(newer) == [] and result(outcome).held_until is None


def test_the_other_snapshots_go_on_to_be_marked(newer: AuditedVault) -> None:
    """A compaction's own snapshots have the marks of the one before, and no run: none of all begins there."""
    assert newer.pruned().status is Status.OK
    outcome = newer.compacted()
    found = {one.snapname: one for one in newer.vault.zfs.snapshots("tank/borg/web1")}
    before, after = found[result(outcome).before], found[result(outcome).after]
    assert {one.state.value for one in (before, after) if one.state} == {"ok"}
    assert "zborg:run" not in before.properties
    assert newer.night().status is Status.OK
    newest = newer.vault.zfs.snapshots("tank/borg/web1")[-1]
    assert newest.state and newest.state.value == "ok" and "zborg:run" in newest.properties


def test_a_prune_within_its_window_is_a_prune_whatever_made_it(newer: AuditedVault) -> None:
    """What nobody can tell without the key; it is held as long as any other."""
    with newer.served(Purpose.PRUNE), newer.rpc() as rpc:
        delete_largest(rpc, 4)
    assert newer.audited().status is Status.OK
    outcome = newer.compacted()
    assert outcome.status is Status.OK and len(holds(newer)) == 1


def test_an_off_site_compacts_nothing(newer: AuditedVault) -> None:
    context = world(newer.vault, newer.clock)
    config = replace(context.config, hosts=(), storage=replace(context.config.storage, received=True))
    report = compact(replace(context, config=config))
    assert report.exit is Exit.FAILED and "it is compacted there" in report.outcomes[0].message


def test_a_server_without_a_ledger_is_told_how_to_begin_one(vault: LocalVault, clock: Seconds) -> None:
    dataset_only(vault, "web1")
    report = compact(world(vault, clock))
    assert report.outcomes[0].remedy == "zborg init"
    assert [one for one in night(world(vault, clock)).outcomes if one.kind == "compact"] == []


def test_what_was_looked_at_is_not_looked_at_again_tomorrow(newer: AuditedVault) -> None:
    assert newer.compacted().status is Status.SKIPPED
    context = world(newer.vault, newer.clock)
    assert records_of(context).of("web1").looked is not None
    assert of(compact(context, ["web1"]), "web1").status is Status.SKIPPED


def test_a_host_that_was_never_backed_up_is_no_failure(newer: AuditedVault) -> None:
    dataset_only(newer.vault, "never")
    newer.clock.tick()
    snapshot(world(newer.vault, newer.clock), label="always")
    for again in (False, True):
        newer.report()
        newer.clock.tick()
        (outcome,) = compact(world(newer.vault, newer.clock), ["never"]).outcomes
        assert (outcome.status, outcome.message) == (Status.SKIPPED, "there is no repository of it yet"), (
            again
        )
    assert records_of(world(newer.vault, newer.clock)).of("never").looked is not None
