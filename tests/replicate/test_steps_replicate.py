"""replicate between two in-memory ZFS: streams, bases and conflicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.steps import list_snapshots, replicate, rotate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.replicas import calls, during_the_first_stream, held, recreate
from tests.harness.worlds.steps import Hours, dataset_only, destroy, guids, nights, of, snapnames, world
from zborg.errors import CommandFailed, Exit, UsageError, ZborgError
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, Dataset, Machine, Status
from zborg.model.storage.zfs import P_LABEL
from zborg.process import LocalRunner
from zborg.steps.context import Context
from zborg.zfs.output.messages import explain

pytestmark = pytest.mark.usefixtures("one_after_another")


def test_a_source_that_is_not_there_is_no_reason_to_call_every_copy_kept(
    vault: LocalVault, clock: Hours
) -> None:
    """As with a pool that is not imported; and whoever wants to restore then must not read "no snapshot"."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.zfs.pools.clear()
    vault.zfs._all.clear()
    report = replicate(world(vault, clock))
    assert report.exit is Exit.FAILED
    assert "no such pool" in report.outcomes[0].message
    with pytest.raises(ZborgError, match="no such pool"):
        list_snapshots(world(vault, clock), "web1")


def test_replicate_sends_every_snapshot_and_then_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 2)
    first = replicate(world(vault, clock))
    assert first.exit is Exit.OK, first.outcomes
    assert of(first, "offsite:vault/zborg/web1").data["streams"] == 2
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    again = replicate(world(vault, clock))
    assert of(again, "offsite:vault/zborg/web1").message == "up to date"
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    assert guids(vault.far, "vault/zborg/web2") == guids(vault.zfs, "tank/borg/web2")


def test_what_zfs_encrypts_is_sent_raw_and_never_otherwise(vault: LocalVault, clock: Hours) -> None:
    vault.zfs.create("tank/borg/web1", {"encryption": "on"})
    nights(vault, clock, 2)
    assert replicate(world(vault, clock)).exit is Exit.OK
    (source,), (copy,) = vault.zfs.datasets("tank/borg/web1"), vault.far.datasets("vault/zborg/web1")
    record = source.properties["zborg:target.offsite"]
    assert copy.encrypted and record.endswith("flags=raw-lec")
    nights(vault, clock, 1)
    vault.zfs.set([source.name], {"zborg:target.offsite": record.replace("raw-lec", "lec")})
    report = replicate(world(vault, clock))
    assert (report.exit, report.outcomes[0].data["conflict"]) == (Exit.CONFLICT, "flags-changed")
    assert len(guids(vault.far, copy.name)) == 2


def test_the_base_is_held_and_survives_rotation(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (base,) = snapnames(vault, "tank/borg/web1")
    nights(vault, clock, 5)
    rotate(world(vault, clock))
    assert base in snapnames(vault, "tank/borg/web1")
    replicate(world(vault, clock))
    newest = snapnames(vault, "tank/borg/web1")[-1]
    held = vault.zfs.holds([f"tank/borg/web1@{raw}" for raw in snapnames(vault, "tank/borg/web1")])
    assert [(hold.snapshot, hold.tag) for hold in held] == [(f"tank/borg/web1@{newest}", "zborg:to:offsite")]


def test_a_base_that_is_only_a_bookmark_still_serves(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (base,) = snapnames(vault, "tank/borg/web1")
    nights(vault, clock, 1)
    vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{base}")
    destroy(vault.zfs, "tank/borg/web1", base)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert len(guids(vault.far, "vault/zborg/web1")) == 2


def test_bookmarks_that_no_target_needs_are_forgotten(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zborg.steps.replicate.dataset._BOOKMARKS", 2)
    dataset_only(vault, "web1")
    nights(vault, clock, 5)
    replicate(world(vault, clock))
    mine = snapnames(vault, "tank/borg/web1")
    behind = next(b for b in vault.zfs.bookmarks("tank/borg/web1") if b.bookname == mine[3])
    record = f"source_guid={vault.zfs.datasets('tank/borg/web1')[0].guid} base={behind.guid} flags=lec"
    vault.zfs.set(["tank/borg/web1"], {"zborg:target.slow": record})
    nights(vault, clock, 2)
    replicate(world(vault, clock))
    left = [bookmark.bookname for bookmark in vault.zfs.bookmarks("tank/borg/web1")]
    assert left == snapnames(vault, "tank/borg/web1")[-4:], "the slow target's base, and what is newer"


@pytest.mark.parametrize("kind", ["foreign-snapshots", "no-common-base", "source-recreated"])
def test_contradictions_are_conflicts_and_touch_nothing(vault: LocalVault, clock: Hours, kind: str) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    if kind == "foreign-snapshots":
        vault.far.snapshot("vault/zborg/web1", "stranger", {})
    else:
        record = dict(vault.zfs.datasets("tank/borg/web1")[0].properties)
        for raw in snapnames(vault, "tank/borg/web1"):
            vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{raw}")
        recreate(vault, "tank/borg/web1")
        if kind == "source-recreated":
            vault.zfs.set(["tank/borg/web1"], record)
    nights(vault, clock, 1)
    before = guids(vault.far, "vault/zborg/web1")
    report = replicate(world(vault, clock))
    outcome = of(report, "offsite:vault/zborg/web1")
    assert report.exit is Exit.CONFLICT
    assert outcome.data["conflict"] == kind
    assert outcome.remedy
    assert guids(vault.far, "vault/zborg/web1") == before
    assert of(report, "offsite:vault/zborg/web2").status is Status.OK
    assert len(guids(vault.far, "vault/zborg/web2")) == 2


def test_each_copy_is_marked_as_its_source_is(vault: LocalVault, clock: Hours) -> None:
    """No stream brings properties, and whoever restores from the copy asks which one was good."""
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    old, new = snapnames(vault, "tank/borg/web1")
    marks = {P_RUN: "20260212T144933Z-4f3a", P_STATE: "ok", P_TRANSACTION: "17"}
    vault.zfs.set([f"tank/borg/web1@{old}"], marks | {"zborg:mine": "not theirs"})
    replicate(world(vault, clock))
    first, second = vault.far.snapshots("vault/zborg/web1")
    assert first.properties == marks
    assert second.properties == vault.zfs.snapshots("tank/borg/web1")[1].properties and new == second.snapname


def test_a_dry_run_ends_as_its_conflicts_would(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    assert replicate(world(vault, clock), dry_run=True).exit is Exit.OK
    replicate(world(vault, clock))
    vault.far.snapshot("vault/zborg/web1", "stranger", {})
    nights(vault, clock, 1)
    dry = replicate(world(vault, clock), dry_run=True)
    assert (dry.exit, dry.outcomes) == (Exit.CONFLICT, ())
    assert any("CONFLICT foreign-snapshots" in line for line in dry.plan)


def test_a_dataset_without_a_snapshot_is_no_good_outcome(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    report = replicate(world(vault, clock))
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status, outcome.message) == (Exit.OK, Status.SKIPPED, "no snapshot yet")


def test_a_target_that_lists_thousands_of_datasets_fills_no_report(vault: LocalVault, clock: Hours) -> None:
    """Its word is all there is for them, and each report is kept: in files, the history and the mail."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    real = vault.far.datasets

    def flood(root: str) -> tuple[Dataset, ...]:
        made = (Dataset(f"vault/zborg/{n} $(x)", str(9**9 + n), False, None, 0, 0) for n in range(3000))
        return (*real(root), *made)

    vault.far.datasets = flood  # type: ignore[method-assign]  # for this test
    report = replicate(world(vault, clock))
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    kept = [one for one in report.outcomes if one.status is Status.WARNING]
    assert len(kept) == 101 and len(report.plan) < 110
    assert "2900 more" in kept[-1].message and "2900 more" in report.plan[-1]
    assert "zfs destroy -r 'vault/zborg/0 $(x)'" in kept[0].remedy


def test_a_mark_that_somebody_has_spoilt_keeps_no_copy_back(vault: LocalVault, clock: Hours) -> None:
    """A sink refuses what no zborg writes, and the good marks in the same command with it."""
    dataset_only(vault, "web1")
    nights(vault, clock, 4)
    for one in vault.zfs.snapshots("tank/borg/web1"):
        vault.zfs.set([one.full], {P_LABEL: "two words"})

    def sink(method: str, what: object) -> None:
        if method == "set" and "two words" in str(what):
            words = "zborg: E_SINK refused by the sink: is no mark"
            raise explain(CommandFailed(("zfs", "set"), 4, words), ("zfs", "set"))

    vault.far.fail = sink
    assert replicate(world(vault, clock)).exit is Exit.OK
    copies = vault.far.snapshots("vault/zborg/web1")
    assert len(copies) == 4 and all(P_RUN in one.properties for one in copies)


def test_a_plan_is_made_again_when_a_datasets_turn_comes(vault: LocalVault, clock: Hours) -> None:
    """Meanwhile a rotation may have destroyed what the first plan names."""
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    during_the_first_stream(vault, lambda: rotate(world(vault, clock)))
    report = replicate(world(vault, clock))
    assert report.exit is Exit.OK, report.outcomes
    assert guids(vault.far, "vault/zborg/web2") == guids(vault.zfs, "tank/borg/web2")
    assert len(guids(vault.far, "vault/zborg/web1")) == 5, "its lock kept the rotation away"


def test_a_conflict_that_appears_during_the_run_is_one(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2", "web3")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    nights(vault, clock, 1)

    def meddle() -> None:
        vault.far.snapshot("vault/zborg/web2", "stranger", {})
        vault.zfs._remove(vault.zfs._all["tank/borg/web3"])

    during_the_first_stream(vault, meddle)
    report = replicate(world(vault, clock))
    assert report.exit is Exit.CONFLICT
    assert of(report, "offsite:vault/zborg/web2").data["conflict"] == "foreign-snapshots"
    assert "is gone since" in of(report, "offsite:vault/zborg/web3").message


@pytest.mark.parametrize("fresh", [True, False])
def test_only_a_dataset_with_work_whose_turn_comes_late_is_listed_again(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.zfs.snapshot("tank/borg/web2", "zborg_2026-03-01T000000Z", {})
    listed: list[object] = []
    vault.zfs.fail = lambda method, given: listed.append(given[0]) if method == "datasets" else None
    if not fresh:
        monkeypatch.setattr("zborg.steps.replicate.endpoints._FRESH", 0)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert listed == ["tank/borg", *([] if fresh else ["tank/borg/web2"])]


@pytest.mark.parametrize("count", [2, 7])
def test_what_a_replication_asks_of_both_sides(vault: LocalVault, clock: Hours, count: int) -> None:
    """Without news always the same; with news one list of each kind per pool, and holds in one go."""
    dataset_only(vault, *(f"web{number}" for number in range(count)))
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    near, far = calls(vault.zfs), calls(vault.far)
    replicate(world(vault, clock))
    listings = {"datasets": 1, "snapshots": 1}
    assert near == listings | {"bookmarks": 1} and far == listings
    vault.zfs.fail = vault.far.fail = None
    nights(vault, clock, 1)
    near, far = calls(vault.zfs), calls(vault.far)
    assert replicate(world(vault, clock)).exit is Exit.OK
    each = {"send": count, "bookmark": count, "set": count}
    assert near == listings | {"bookmarks": 1, "hold": 1, "release": 1} | each
    assert far == listings | {"receive": count, "guid": count, "set": count}


def test_holds_are_placed_before_the_first_stream_and_the_replaced_ones_let_go(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    nights(vault, clock, 1)
    newest = [f"tank/borg/{name}@{snapnames(vault, f'tank/borg/{name}')[-1]}" for name in ("web1", "web2")]
    seen: list[set[str]] = []
    during_the_first_stream(vault, lambda: seen.append(held(vault)))
    replicate(world(vault, clock))
    assert set(newest) < seen[0]
    assert held(vault) == set(newest)


def test_a_target_that_does_not_exist_is_told_with_the_command_that_makes_it(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    context = world(vault, clock)
    (target,) = context.config.targets
    lost = replace(context.config, targets=(replace(target, dataset="vault/nowhere"),))
    report = replicate(replace(context, config=lost))
    assert report.exit is Exit.FAILED
    assert "zfs create" in report.outcomes[0].remedy
    with pytest.raises(UsageError, match="no such target"):
        replicate(context, ["nowhere"])


def test_what_the_target_says_it_has_decides(vault: LocalVault, clock: Hours) -> None:
    """A receive that ends with 0 but brought something else must not become the base."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    context = world(vault, clock)
    blind = Blind(context)
    report = replicate(replace(context, target=lambda _: Machine(LocalRunner(), blind.far)))
    assert report.exit is Exit.FAILED
    assert "the target shows no such snapshot" in report.outcomes[0].message
    record = vault.zfs.datasets("tank/borg/web1")[0].properties["zborg:target.offsite"]
    assert "base=-" in record


class Blind:
    """A target whose snapshots are gone the moment they arrived."""

    def __init__(self, context: Context) -> None:
        (target,) = context.config.targets
        self.far = context.target(target).zfs
        self.far.guid = lambda snapshot: ""  # type: ignore[method-assign]  # for this test
