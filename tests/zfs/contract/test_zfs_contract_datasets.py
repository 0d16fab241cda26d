"""The contract of model.Zfs: datasets, pools and the clock."""

from __future__ import annotations

from datetime import UTC

import pytest

from tests.harness.worlds.pair import Pair
from zborg.errors import CommandFailed, ZborgError
from zborg.model import P_RUN, P_TARGET, Scrub
from zborg.model.storage.mounting import Mounting


def test_its_clock_is_read(zfs_pair: Pair) -> None:
    """Its own: that of an emulated machine that is busy falls behind by a minute."""
    before = int(zfs_pair.now())
    read = zfs_pair.zfs.clock()
    assert before <= read.timestamp() <= zfs_pair.now() + 1
    assert read.tzinfo is UTC


# --- listing ----------------------------------------------------------------------------------------


def test_a_missing_root_lists_as_nothing(zfs_pair: Pair) -> None:
    for root in (f"{zfs_pair.root}/nowhere", "nopool/nowhere"):
        assert zfs_pair.zfs.datasets(root) == ()
        assert zfs_pair.zfs.snapshots(root) == ()
        assert zfs_pair.zfs.bookmarks(root) == ()
    assert zfs_pair.zfs.snapshots(zfs_pair.root) == ()


def test_datasets_show_what_they_are_and_only_their_own_properties(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    zfs.set([root], {f"{P_TARGET}offsite": "123 Lec"})
    name = zfs_pair.child("we b", 1)
    top, below = zfs.datasets(root)
    assert (top.name, below.name) == (root, name)
    assert top.properties == {f"{P_TARGET}offsite": "123 Lec"} and below.properties == {}
    assert below.mounted and below.mountpoint is not None and zfs_pair.exists(f"{below.mountpoint}/data")
    assert below.guid.isdigit() and below.guid != top.guid
    assert below.used > 0 and below.available > 0 and below.resume_token is None
    (away,) = zfs.datasets(zfs_pair.away)
    assert away.mountpoint is None and not away.mounted


def test_create_and_mount(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, f"{zfs_pair.root}/new"
    zfs.create(name, {"canmount": "noauto", P_RUN: "r1"})
    assert not zfs.datasets(name)[0].mounted and zfs.datasets(name)[0].properties == {P_RUN: "r1"}
    zfs.mount(name)
    zfs.mount(name)
    assert zfs.datasets(name)[0].mounted
    with pytest.raises(CommandFailed, match="already exists"):
        zfs.create(name, {})
    with pytest.raises(CommandFailed, match="parent does not exist"):
        zfs.create(f"{zfs_pair.root}/no/parent", {})


def test_the_files_of_a_snapshot_are_where_it_says(zfs_pair: Pair) -> None:
    zfs = zfs_pair.zfs
    name = zfs_pair.child("seen", 1)
    zfs_pair.snap(name, "zborg_2026-02-12T144933Z")
    zfs_pair.write(name, "later", 1)
    (dataset,) = zfs.datasets(name)
    (snapshot,) = zfs.snapshots(name)
    place = zfs.contents(snapshot, dataset.mountpoint or "")
    assert zfs_pair.exists(f"{place}/data") and not zfs_pair.exists(f"{place}/later")


def test_what_decides_a_mount_is_read_of_each_state(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    place = zfs.datasets(root)[0].mountpoint
    zfs.create(f"{root}/on", {"snapdir": "visible"})
    zfs.create(f"{root}/auto", {"canmount": "noauto", "overlay": "off"})
    zfs.create(f"{root}/off", {"canmount": "off"})
    zfs.create(f"{root}/none", {"mountpoint": "none"})
    assert [zfs.mounting(f"{root}/{name}") for name in ("on", "auto", "off", "none")] == [
        Mounting(f"{root}/on", True, f"{place}/on", "on", True),
        Mounting(f"{root}/auto", False, f"{place}/auto", "noauto", False),
        Mounting(f"{root}/off", False, f"{place}/off", "off", True),
        Mounting(f"{root}/none", False, None, "on", True),
    ]
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.mounting(f"{root}/gone")
    for _ in range(2):
        zfs.hide_snapshots(root, f"{root}/on")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.hide_snapshots(f"{root}/gone")


def test_quota_and_reservations_show_in_what_is_available(zfs_pair: Pair) -> None:
    """What is kept back for one is gone for all others, and no dataset has more than its quota leaves it."""
    zfs, root, mib = zfs_pair.zfs, zfs_pair.root, 1 << 20
    before = zfs.datasets(root)[0].available
    zfs.create(f"{root}/small", {"quota": str(64 * mib)})
    assert 60 * mib < zfs.datasets(f"{root}/small")[0].available <= 64 * mib
    slack = {"mountpoint": "none", "canmount": "off", "refreservation": str(256 * mib)}
    zfs.create(f"{root}/slack", slack)
    assert 250 * mib < before - zfs.datasets(root)[0].available < 262 * mib
    assert zfs.datasets(f"{root}/slack")[0].available > 255 * mib


def test_remove_takes_one_new_dataset_and_nothing_that_is_kept(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("made", 1)
    guid = zfs.datasets(name)[0].guid
    with pytest.raises(ZborgError, match="its guid is"):
        zfs.remove(name, "1")
    zfs.create(f"{name}/below", {})
    with pytest.raises(CommandFailed, match="has children"):
        zfs.remove(name, guid)
    zfs.remove(f"{name}/below", zfs.datasets(f"{name}/below")[0].guid)
    zfs_pair.snap(name, "a")
    with pytest.raises(CommandFailed, match="has children"):
        zfs.remove(name, guid)
    zfs_pair.destroy(name, "a")
    for _ in range(2):
        zfs.remove(name, guid)
    assert zfs.datasets(name) == ()


# --- pools ------------------------------------------------------------------------------------------


def test_pool_and_scrub(zfs_pair: Pair) -> None:
    pool = zfs_pair.zfs.pool(zfs_pair.pool)
    assert (pool.name, pool.health, pool.scrub) == (zfs_pair.pool, "ONLINE", Scrub.NEVER)
    assert 0 < pool.free < pool.size and pool.errors == 0 and pool.finished is None
    zfs_pair.zfs.scrub(zfs_pair.pool)
    pool = zfs_pair.zfs.pool(zfs_pair.pool)
    assert pool.scrub in (Scrub.RUNNING, Scrub.FINISHED) and 0 <= pool.done <= 1
    for call in (zfs_pair.zfs.pool, zfs_pair.zfs.scrub):
        with pytest.raises(CommandFailed, match="no such pool"):
            call("nopool")
