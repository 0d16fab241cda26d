"""FakeZfs: model.Zfs in memory, for tests of the steps. Passes tests/zfs/contract as real ZFS does.

Every dataset has a real directory below `base` (and stays readable there when it is not mounted), so a
real `borg serve` can serve it; a snapshot is a copy of that directory: small data only. What is sent is
always the whole tree, increments too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.harness.fake_zfs.state import GONE, Filesystem, Snap, blocks, keep_owners, new_guid
from tests.harness.fake_zfs.stream import Streams, token_of
from zborg.errors import ZborgError
from zborg.model import Bookmark, Dataset, Hold, Pool, Scrub, Snapshot
from zborg.model.storage.mounting import Mounting
from zborg.zfs import argv, names


class FakeZfs(Streams):
    """One machine's ZFS. `fail(method, arguments)` is called first by every method and may raise.

    `pools` may be changed by tests (health, errors, a finished scrub), and so may `available`.
    """

    # --- listing ---------------------------------------------------------------------------------

    def datasets(self, root: str) -> tuple[Dataset, ...]:
        argv.list_datasets(root)
        with self._lock:
            self._begin("datasets", root)
            return tuple(self._dataset(one) for one in self._below(root))

    def _dataset(self, one: Filesystem) -> Dataset:
        return Dataset(
            name=one.name,
            guid=one.guid,
            mounted=one.mounted,
            mountpoint=self._mountpoint(one.name),
            used=24576,
            available=self._room(one),
            resume_token=token_of(*one.partial) if one.partial else None,
            written=self._written(one),
            properties={k: v for k, v in one.properties.items() if k.startswith("zborg:")},
            encrypted=self._encrypted(one.name),
        )

    def _written(self, one: Filesystem) -> int:
        """By the files' content: what ZFS counts in blocks."""
        newest = one.newest()
        old = blocks(newest.tree) if newest else {}
        new = blocks(self.directory(one.name), outside=self._homes())
        if newest is None:
            return 24576 + sum(new.values())
        return sum(size for block, size in new.items() if block not in old) or int(new != old)

    def _homes(self) -> set[Path]:
        return {self.directory(name) for name in self._all}

    def _room(self, one: Filesystem) -> int:
        """Of quota and refreservation only what datasets were created with, and nothing of what is used."""
        kept = sum(int(o.properties.get("refreservation", 0)) for o in self._all.values() if o is not one)
        above = [o for o in self._all.values() if f"{one.name}/".startswith(f"{o.name}/")]
        return min([self.available - kept, *(int(o.properties.get("quota", 1 << 60)) for o in above)])

    def snapshots(self, root: str) -> tuple[Snapshot, ...]:
        argv.list_snapshots(root)
        with self._lock:
            self._begin("snapshots", root)
            found = [
                replace(_snapshot(one.name, raw, s), clones=tuple(self._clones(f"{one.name}@{raw}")))
                for one in self._below(root)
                for raw, s in one.snaps.items()
            ]
        return tuple(sorted(found, key=lambda snapshot: (snapshot.dataset, snapshot.createtxg)))

    def bookmarks(self, root: str) -> tuple[Bookmark, ...]:
        argv.list_bookmarks(root)
        with self._lock:
            self._begin("bookmarks", root)
            found = [mark for one in self._below(root) for mark in one.marks.values()]
        return tuple(sorted(found, key=lambda mark: (mark.dataset, mark.createtxg)))

    def holds(self, snapshots: Sequence[str]) -> tuple[Hold, ...]:
        command = argv.holds(snapshots)
        with self._lock:
            self._begin("holds", tuple(snapshots))
            found = []
            for full in snapshots:
                snap = self._find(full) or self._refuse(command, f"cannot open '{full}': {GONE}")
                found += [Hold(full, tag, since) for tag, since in snap.holds.items()]
            return tuple(found)

    # --- making and marking ----------------------------------------------------------------------

    def create(self, dataset: str, properties: Mapping[str, str]) -> None:
        command = argv.create(dataset, properties)
        with self._lock:
            self._begin("create", dataset, dict(properties))
            if dataset in self._all:
                self._refuse(command, f"cannot create '{dataset}': dataset already exists")
            if dataset.rpartition("/")[0] not in self._all:
                self._refuse(command, f"cannot create '{dataset}': parent does not exist")
            self._add(dataset, properties)

    def remove(self, dataset: str, guid: str) -> None:
        command = argv.remove(dataset)
        with self._lock:
            self._begin("remove", dataset)
            if (one := self._all.get(dataset)) is None:
                return
            if one.guid != guid:
                raise ZborgError(f"refused to destroy {dataset}: its guid is {one.guid}, not {guid}")
            if one.snaps or len(list(self._below(dataset))) > 1:
                self._refuse(command, f"cannot destroy '{dataset}': filesystem has children")
            self._remove(one)

    def mount(self, dataset: str) -> None:
        command = argv.mount(dataset)
        with self._lock:
            self._begin("mount", dataset)
            one = self._all.get(dataset) or self._refuse(command, f"cannot open '{dataset}': {GONE}")
            if one.keyless:
                self._refuse(command, f"cannot mount '{dataset}': encryption key not loaded")
            if self._mountpoint(dataset) is None:
                self._refuse(command, f"cannot mount '{dataset}': no mountpoint set")
            one.mounted = True

    def mounting(self, dataset: str) -> Mounting:
        command = argv.values(argv.MOUNTING, dataset)
        with self._lock:
            self._begin("mounting", dataset)
            one = self._all.get(dataset) or self._refuse(command, f"cannot open '{dataset}': {GONE}")
            of = one.properties
            return Mounting(
                dataset,
                one.mounted,
                self._mountpoint(dataset),
                of.get("canmount", "on"),
                of.get("overlay", "on") != "off",
                dataset if one.keyless else "",
            )

    def hide_snapshots(self, *datasets: str) -> None:
        """`.zfs` is a directory that tests make."""
        command = argv.hide_snapshots(datasets)
        with self._lock:
            self._begin("hide_snapshots", *datasets)
            for name in datasets:
                one = self._all.get(name) or self._refuse(command, f"cannot open '{name}': {GONE}")
                one.properties["snapdir"] = "hidden"
                shutil.rmtree(self.directory(name) / ".zfs", ignore_errors=True)

    def unmount(self, dataset: str) -> None:
        """For tests; the directory stays where it is."""
        self._all[dataset].mounted = False

    def snapshot(self, root: str, raw: str, properties: Mapping[str, str]) -> None:
        command = argv.snapshot(root, raw, properties)
        with self._lock:
            self._begin("snapshot", root, raw, dict(properties))
            found = list(self._below(root)) or self._refuse(command, f"cannot open '{root}': {GONE}")
            taken = [
                f"cannot create snapshot '{o.name}@{raw}': dataset already exists"
                for o in found
                if raw in o.snaps
            ]
            if taken:
                self._refuse(command, "\n".join([*taken, "no snapshots were created"]))
            for one in found:
                tree = self._copy(self.directory(one.name))
                one.snaps[raw] = Snap(new_guid(), self._txg, self._now(), tree, dict(properties))

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        command = argv.set_properties(names, properties)
        with self._lock:
            self._begin("set", tuple(names), dict(properties))
            for name in names:
                one = self._find(name) if "@" in name else self._all.get(name)
                if one is None:
                    self._refuse(command, f"cannot open '{name}': {GONE}")
                one.properties.update(properties)

    def guid(self, snapshot: str) -> str:
        argv.guid(snapshot)
        with self._lock:
            self._begin("guid", snapshot)
            found = self._find(snapshot)
            return found.guid if found else ""

    def hold(self, tag: str, *snapshots: str) -> None:
        command = argv.hold(tag, snapshots)
        with self._lock:
            self._begin("hold", tag, *snapshots)
            gone = []
            for snapshot in snapshots:
                if snap := self._find(snapshot):
                    snap.holds.setdefault(tag, self._now())
                else:
                    gone.append(f"cannot hold snapshot '{snapshot}': {GONE}")
            if gone:
                self._refuse(command, "\n".join(gone))

    def release(self, tag: str, *snapshots: str) -> None:
        argv.release(tag, snapshots)
        with self._lock:
            self._begin("release", tag, *snapshots)
            for snapshot in snapshots:
                if snap := self._find(snapshot):
                    snap.holds.pop(tag, None)

    def bookmark(self, snapshot: str, raw: str) -> None:
        command = argv.bookmark(snapshot, raw)
        with self._lock:
            self._begin("bookmark", snapshot, raw)
            snap = self._find(snapshot) or self._refuse(command, f"cannot open '{snapshot}': {GONE}")
            one = self._all[snapshot.partition("@")[0]]
            mark = Bookmark(one.name, raw, snap.guid, snap.txg)
            if one.marks.setdefault(raw, mark).guid != snap.guid:
                self._refuse(command, f"cannot create bookmark '{mark.full}': bookmark exists")

    def contents(self, snapshot: Snapshot, mountpoint: str) -> str:
        del mountpoint
        found = self._find(snapshot.full)
        return str(found.tree) if found else ""

    # --- destroying and clones -------------------------------------------------------------------

    def destroy(self, dataset: str, doomed: Mapping[str, str]) -> tuple[str, ...]:
        if not doomed:
            return ()
        command = argv.destroy_snapshots(dataset, doomed)
        with self._lock:
            self._begin("destroy", dataset, dict(doomed))
            one = self._all.get(dataset)
            free = [raw for raw in doomed if one and self._is_free(one, raw, doomed[raw])]
            for raw in free:
                if one and one.snaps[raw].sending:
                    self._refuse(command, f"cannot destroy snapshot {dataset}@{raw}: dataset is busy")
            for raw in free:
                if one:
                    shutil.rmtree(one.snaps.pop(raw).tree)
            return tuple(free)

    def _is_free(self, one: Filesystem, raw: str, guid: str) -> bool:
        snap = one.snaps.get(raw)
        return bool(snap and snap.guid == guid and not snap.holds and not self._clones(f"{one.name}@{raw}"))

    def freed(self, dataset: str, snapnames: Sequence[str]) -> int:
        """Bytes of the files that are in these snapshots only: by their content, which the fake copies."""
        if not snapnames:
            return 0
        command = argv.freed(dataset, snapnames)
        with self._lock:
            self._begin("freed", dataset, tuple(snapnames))
            one = self._all.get(dataset) or self._refuse(command, f"cannot open '{dataset}': {GONE}")
            doomed = [snap for raw, snap in one.snaps.items() if raw in snapnames]
            if not doomed:
                self._refuse(command, "could not find any snapshots to destroy; check snapshot names.")
            rest = [snap.tree for snap in one.snaps.values() if snap not in doomed]
            kept = blocks(self.directory(dataset), *rest)
            return sum(size for block, size in blocks(*(s.tree for s in doomed)).items() if block not in kept)

    def destroy_bookmark(self, bookmark: str) -> None:
        argv.destroy_bookmark(bookmark)
        with self._lock:
            self._begin("destroy_bookmark", bookmark)
            dataset, _, raw = bookmark.partition("#")
            if dataset in self._all:
                self._all[dataset].marks.pop(raw, None)

    def clone(self, snapshot: str, dataset: str) -> str:
        command = argv.clone(snapshot, dataset)
        with self._lock:
            self._begin("clone", snapshot, dataset)
            snap = self._find(snapshot) or self._refuse(command, f"cannot open '{snapshot}': {GONE}")
            if dataset in self._all:
                self._refuse(command, f"cannot create '{dataset}': dataset already exists")
            parts = dataset.split("/")
            for depth in range(1, len(parts)):
                if "/".join(parts[:depth]) not in self._all:
                    self._add("/".join(parts[:depth]), {})
            one = self._add(dataset, {})
            one.origin = snapshot
            if not one.mounted:
                self._remove(one)
                raise ZborgError(f"the clone {dataset} was not mounted")
            shutil.copytree(snap.tree, self.directory(dataset), symlinks=True, dirs_exist_ok=True)
            keep_owners(snap.tree, self.directory(dataset))
            return str(self.directory(dataset))

    def destroy_clone(self, dataset: str) -> None:
        parent, command = names.scratch(dataset), argv.destroy_scratch(dataset)
        with self._lock:
            self._begin("destroy_clone", dataset)
            if one := self._all.get(dataset):
                if one.origin is None:
                    raise ZborgError(f"refused to destroy {dataset}: it is not a clone")
                if one.snaps or len(list(self._below(dataset))) > 1:
                    self._refuse(command, f"cannot destroy '{dataset}': filesystem has children")
                self._remove(one)
            if [one.name for one in self._below(parent)] == [parent] and not self._all[parent].snaps:
                self._remove(self._all[parent])

    # --- pools -----------------------------------------------------------------------------------

    def pool(self, name: str) -> Pool:
        command = argv.pool_list(name)
        self._begin("pool", name)
        return self.pools.get(name) or self._refuse(command, f"cannot open '{name}': no such pool")

    def scrub(self, pool: str) -> None:
        command = argv.scrub(pool)
        self._begin("scrub", pool)
        known = self.pools.get(pool) or self._refuse(command, f"cannot open '{pool}': no such pool")
        if known.scrub is Scrub.RUNNING:
            self._refuse(command, f"cannot scrub {pool}: currently scrubbing")
        self.pools[pool] = replace(known, scrub=Scrub.RUNNING, finished=None, done=0.0)

    def finish_scrub(self, pool: str, errors: int = 0) -> None:
        """For tests."""
        known = self.pools[pool]
        self.pools[pool] = replace(known, scrub=Scrub.FINISHED, finished=self._now(), done=1.0, errors=errors)


def _snapshot(dataset: str, raw: str, snap: Snap) -> Snapshot:
    shown = {key: value for key, value in snap.properties.items() if key in argv.SNAPSHOT_PROPERTIES}
    return Snapshot(dataset, raw, snap.guid, snap.txg, snap.created, 0, len(snap.holds), shown)
