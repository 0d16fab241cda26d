"""The contract of model.Zfs: snapshots, holds, bookmarks and clones."""

from __future__ import annotations

import pytest

from tests.harness.worlds.pair import KIB, Pair, until
from zborg.errors import CommandFailed, ZborgError
from zborg.model import P_RUN, P_STATE, P_TRANSACTION

# --- snapshots --------------------------------------------------------------------------------------


def test_snapshot_takes_all_below_at_once_with_properties(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    one, two = zfs_pair.child("one"), zfs_pair.child("t wo")
    zfs.snapshot(root, "zborg_2026-02-12T144933Z", {P_RUN: "run one", P_STATE: "ok"})
    found = zfs.snapshots(root)
    assert [s.dataset for s in found] == [root, one, two]
    assert len({s.createtxg for s in found}) == 1 and len({s.guid for s in found}) == 3
    assert all(s.properties == {P_RUN: "run one", P_STATE: "ok"} and s.holds == 0 for s in found)
    assert all(s.name is not None and str(s.name) == s.snapname for s in found)
    zfs.snapshot(root, "second", {})
    assert zfs_pair.names(one) == ["zborg_2026-02-12T144933Z", "second"]


def test_snapshot_is_all_or_nothing(zfs_pair: Pair) -> None:
    one, two = zfs_pair.child("one"), zfs_pair.child("two")
    zfs_pair.snap(one, "same")
    with pytest.raises(CommandFailed, match="already exists"):
        zfs_pair.zfs.snapshot(zfs_pair.root, "same", {})
    assert zfs_pair.names(two) == []
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs_pair.zfs.snapshot(f"{zfs_pair.root}/nowhere", "same", {})


def test_snapshots_do_not_show_what_they_inherit(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    zfs_pair.zfs.set([name], {P_STATE: "ok", P_TRANSACTION: "7"})
    zfs_pair.zfs.snapshot(name, "a", {P_RUN: "r1"})
    assert zfs_pair.zfs.snapshots(name)[0].properties == {P_RUN: "r1"}


def test_set_on_many(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    name = zfs_pair.child("we b")
    zfs.snapshot(root, "a", {P_STATE: "busy"})
    zfs.set([f"{root}@a", f"{name}@a", name], {P_STATE: "ok", P_TRANSACTION: "12=3"})
    expected = {P_STATE: "ok", P_TRANSACTION: "12=3"}
    assert [s.properties for s in zfs.snapshots(root)] == [expected, expected]
    assert zfs.datasets(name)[0].properties == expected
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.set([f"{root}@nowhere"], expected)
    with pytest.raises(ZborgError, match="not a user property"):
        zfs.set([name], {"mountpoint": "/etc"})
    with pytest.raises(ZborgError, match="not a value"):
        zfs.set([name], {P_STATE: "ok\nforged"})


def test_destroy_only_what_is_named(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    name, other = zfs_pair.child("web1"), zfs_pair.child("web10")
    for raw in ("a", "b", "c d", "by-hand"):
        zfs.snapshot(root, raw, {})
    assert zfs_pair.destroy(name, "c d", "a") == ("c d", "a")
    assert zfs_pair.names(name) == ["b", "by-hand"]
    assert zfs_pair.names(other) == ["a", "b", "c d", "by-hand"]
    assert zfs.destroy(name, {}) == ()
    assert zfs_pair.destroy(name, "a", "b") == ("b",)  # one is gone: passed over
    assert zfs_pair.names(name) == ["by-hand"]
    assert zfs_pair.destroy(name, "a", "b") == ()
    assert zfs.destroy(f"{name}/gone", {"a": "1"}) == ()


def test_destroy_leaves_alone_what_is_another_snapshot_or_in_use(zfs_pair: Pair) -> None:
    """Identity is the guid; one that is in use keeps none of the others."""
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1")
    fulls = [zfs_pair.snap(name, raw) for raw in ("a", "b", "c", "d", "e")]
    doomed = {raw: zfs_pair.guid(full) for raw, full in zip("abcde", fulls, strict=True)}
    zfs.hold("zborg:offsite", fulls[1])
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    zfs.clone(fulls[2], f"{run}/web1")
    assert zfs.destroy(name, doomed | {"d": doomed["e"]}) == ("a", "e")
    assert zfs_pair.names(name) == ["b", "c", "d"]
    zfs.release("zborg:offsite", fulls[1])
    zfs.destroy_clone(f"{run}/web1")
    assert zfs.destroy(name, doomed) == ("b", "c", "d")


def test_freed_is_what_destroying_them_together_frees(zfs_pair: Pair) -> None:
    """What two snapshots share is in neither's `used`, and is freed by destroying both."""
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1", 600)
    zfs_pair.snap(name, "a")
    zfs_pair.snap(name, "b")
    zfs_pair.write(name, "data", 1)
    zfs_pair.snap(name, "c")
    assert zfs.freed(name, []) == 0
    assert zfs.freed(name, ["a"]) < 200 * KIB
    assert 600 * KIB <= zfs.freed(name, ["a", "b", "gone"]) < 900 * KIB
    assert zfs_pair.names(name) == ["a", "b", "c"]
    with pytest.raises(CommandFailed, match="could not find any snapshots"):
        zfs.freed(name, ["gone"])
    for raw in ("a%c", "%", "a,b"):
        with pytest.raises(ZborgError, match="not a name"):
            zfs.freed(name, [raw])


def test_what_was_written_since_the_newest_snapshot_is_told(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1", 100)
    zfs_pair.snap(name, "a")
    assert zfs.datasets(name)[0].written == 0
    zfs_pair.write(name, "more", 200)
    zfs_pair.child("new")  # in a transaction group of its own, after that file
    until(lambda: zfs.datasets(name)[0].written > 150 * KIB)
    assert all(one.written > 0 for one in zfs.datasets(zfs_pair.root))
    zfs_pair.snap(name, "b")
    assert zfs.datasets(name)[0].written == 0


def test_destroy_refuses_names_that_mean_more(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    for real in ("a", "b"):
        zfs_pair.snap(name, real)
    for raw in ("a%b", "a%", "%", "a,b", "x@a", "x/a", "a#b", "", "a\nb"):
        with pytest.raises(ZborgError, match="not a name"):
            zfs_pair.zfs.destroy(name, {raw: "1"})
    assert zfs_pair.names(name) == ["a", "b"]


# --- holds and bookmarks ----------------------------------------------------------------------------


def test_hold_and_release_are_idempotent(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b")
    full, other = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for _ in range(2):
        zfs.hold("zborg:offsite:2026-02-12", full)
    zfs.hold("mine", other)
    assert [(h.snapshot, h.tag) for h in zfs.holds([full, other])] == [
        (full, "zborg:offsite:2026-02-12"),
        (other, "mine"),
    ]
    assert [s.holds for s in zfs.snapshots(name)] == [1, 1]
    created = zfs.snapshots(name)[0].created
    assert abs((zfs.holds([full])[0].since - created).total_seconds()) < 120
    for _ in range(2):
        zfs.release("zborg:offsite:2026-02-12", full)
    assert zfs.holds([full]) == () and zfs.holds([]) == ()
    zfs.release("mine", f"{name}@gone")
    zfs.release("mine", f"{name}/gone@gone")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.hold("mine", f"{name}@gone")


def test_bookmarks_are_idempotent_for_the_same_snapshot_only(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b")
    one, two = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for _ in range(2):
        zfs.bookmark(one, "zborg_offsite")
    with pytest.raises(CommandFailed, match="bookmark exists"):
        zfs.bookmark(two, "zborg_offsite")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.bookmark(f"{name}@gone", "other")
    (mark,) = zfs.bookmarks(zfs_pair.root)
    snapshot = zfs.snapshots(name)[0]
    assert (mark.full, mark.guid, mark.createtxg) == (
        f"{name}#zborg_offsite",
        snapshot.guid,
        snapshot.createtxg,
    )
    for _ in range(2):
        zfs.destroy_bookmark(mark.full)
    assert zfs.bookmarks(name) == ()


# --- clones -----------------------------------------------------------------------------------------


def test_clone_is_mounted_and_goes_with_its_run(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b", 1)
    full = zfs_pair.snap(name, "a")
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    place = zfs.clone(full, f"{run}/web1")
    assert zfs_pair.exists(f"{place}/data") and zfs.datasets(f"{run}/web1")[0].mounted
    assert zfs.snapshots(name)[0].clones == (f"{run}/web1",)
    other = zfs.clone(full, f"{run}/web2")
    assert sorted(zfs.snapshots(name)[0].clones) == [f"{run}/web1", f"{run}/web2"]
    with pytest.raises(CommandFailed, match="already exists"):
        zfs.clone(full, f"{run}/web2")
    assert zfs_pair.destroy(name, "a") == ()
    for _ in range(2):
        zfs.destroy_clone(f"{run}/web1")
    assert not zfs_pair.exists(place) and zfs_pair.exists(f"{other}/data")
    zfs.destroy_clone(f"{run}/web2")
    assert zfs.datasets(run) == () and len(zfs.datasets(f"{zfs_pair.pool}/zborg-scratch")) == 1
    zfs.destroy_clone(f"{run}/web2")
    assert zfs_pair.names(name) == ["a"] and zfs.snapshots(name)[0].clones == ()


def test_a_failed_clone_leaves_no_parent(zfs_pair: Pair) -> None:
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs_pair.zfs.clone(f"{zfs_pair.root}@gone", f"{run}/web1")
    assert zfs_pair.zfs.datasets(run) == ()


def test_destroy_clone_refuses_everything_else(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1")
    scratch = f"{zfs_pair.root}/zborg-scratch"
    for dataset in (scratch, f"{scratch}/run", f"{scratch}/run/web1"):
        zfs.create(dataset, {})
    for wrong in (name, zfs_pair.root, scratch, f"{scratch}/run", f"{scratch}/run/web1", zfs_pair.pool):
        with pytest.raises(ZborgError, match="refused"):
            zfs.destroy_clone(wrong)
    assert len(zfs.datasets(zfs_pair.root)) == 5
