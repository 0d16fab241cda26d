"""What FakeZfs keeps: filesystems, snapshots, their directories."""

from __future__ import annotations

import copy
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from tests.harness.fake_zfs.child import Header
from zborg.errors import CommandFailed
from zborg.model import Bookmark, Clock, Pool, Scrub, utc_now
from zborg.zfs import argv
from zborg.zfs.output import messages

Fail = Callable[[str, tuple[object, ...]], None]
GONE = "dataset does not exist"


@dataclass
class Snap:
    guid: str
    txg: int
    created: datetime
    tree: Path
    properties: dict[str, str]
    holds: dict[str, datetime] = field(default_factory=dict)
    sending: int = 0


@dataclass
class Filesystem:
    name: str
    guid: str
    properties: dict[str, str]
    mounted: bool
    snaps: dict[str, Snap] = field(default_factory=dict)
    marks: dict[str, Bookmark] = field(default_factory=dict)
    origin: str | None = None
    partial: tuple[Header, bytes] | None = None
    keyless: bool = False  # encrypted, and its key is not loaded

    def newest(self) -> Snap | None:
        return max(self.snaps.values(), key=lambda snap: snap.txg, default=None)


class Machine:
    """One machine's pools; see FakeZfs."""

    def __init__(
        self,
        base: Path,
        *,
        pools: Sequence[str] = ("tank",),
        clock: Clock = utc_now,
        fail: Fail | None = None,
    ) -> None:
        self.base, self.clock, self.fail = base, clock, fail
        self.available = 1 << 40
        self.pools = {
            name: Pool(name, "ONLINE", Scrub.NEVER, None, 0, 0, 0.0, 1 << 40, 1 << 39) for name in pools
        }
        self._lock = threading.RLock()
        self._txg = 4
        self._all: dict[str, Filesystem] = {}
        for name in pools:
            self._add(name, {})

    def remembered(self) -> tuple[int, dict[str, Filesystem], dict[str, Pool]]:
        """What it knows beside the files below `base`."""
        return copy.deepcopy((self._txg, self._all, self.pools))

    def remember(self, known: tuple[int, dict[str, Filesystem], dict[str, Pool]]) -> None:
        """Be again what was `remembered`, once the files of then are back."""
        self._txg, self._all, self.pools = copy.deepcopy(known)

    def directory(self, dataset: str) -> Path:
        """Where the dataset's files are, mounted or not."""
        place = self._mountpoint(dataset)
        return Path(place) if place else self.base / ".unmounted" / dataset

    def _mountpoint(self, dataset: str) -> str | None:
        below: list[str] = []
        parts = dataset.split("/")
        while parts:
            known = self._all.get("/".join(parts))
            own = known.properties.get("mountpoint") if known else None
            if own is not None:
                return str(Path(own, *below)) if own.startswith("/") else None
            below.insert(0, parts.pop())
        return str(self.base / dataset)

    def _encrypted(self, dataset: str) -> bool:
        """Of its own or by what is above; unlike ZFS's, a fake's key is always loaded but for raw copies."""
        parts = dataset.split("/")
        above = [self._all.get("/".join(parts[:depth])) for depth in range(len(parts), 0, -1)]
        own = [one.properties["encryption"] for one in above if one and "encryption" in one.properties]
        return bool(own) and own[0] != "off"

    def _begin(self, method: str, *arguments: object) -> None:
        if self.fail is not None:
            self.fail(method, arguments)
        self._txg += 1

    def _refuse(self, command: argv.Argv, text: str, note: str = "") -> NoReturn:
        raise messages.explain(CommandFailed(command, 1, text), command, note)

    def _add(self, name: str, properties: Mapping[str, str]) -> Filesystem:
        one = self._all[name] = Filesystem(name, new_guid(), dict(properties), mounted=False)
        self.directory(name).mkdir(parents=True, exist_ok=True)
        mountable = properties.get("canmount", "on") == "on"
        one.mounted = mountable and self._mountpoint(name) is not None
        return one

    def _remove(self, one: Filesystem) -> None:
        shutil.rmtree(self.directory(one.name))
        del self._all[one.name]

    def _below(self, root: str) -> Iterator[Filesystem]:
        for name in sorted(self._all, key=lambda name: name.split("/")):
            if name == root or name.startswith(f"{root}/"):
                yield self._all[name]

    def _find(self, full: str) -> Snap | None:
        dataset, _, raw = full.partition("@")
        known = self._all.get(dataset)
        return known.snaps.get(raw) if known else None

    def _clones(self, full: str) -> list[str]:
        return [one.name for one in self._all.values() if one.origin == full]

    def _now(self) -> datetime:
        return self.clock().astimezone(UTC).replace(microsecond=0)

    def _copy(self, source: Path) -> Path:
        inner = {str(self.directory(name)) for name in self._all}

        def children(folder: str, entries: list[str]) -> list[str]:
            return [entry for entry in entries if str(Path(folder, entry)) in inner]

        tree = self.base / ".snapshots" / uuid.uuid4().hex
        shutil.copytree(source, tree, symlinks=True, ignore=children, copy_function=_copy_file)
        keep_owners(source, tree)
        return tree


def keep_owners(source: Path, copy: Path) -> None:
    """As ZFS does: whose a file is decides whether a `borg serve` of another user may read it."""
    for made in (copy, *copy.rglob("*")):
        facts = (source / made.relative_to(copy)).lstat()
        os.chown(made, facts.st_uid, facts.st_gid, follow_symlinks=False)


def blocks(*trees: Path, outside: Container[Path] = ()) -> dict[tuple[str, int, int], int]:
    """What is in these directories, but for what is in those `outside`, with its size. A copy keeps the
    time of a file, so one that was not changed is the same in every snapshot."""
    found: dict[tuple[str, int, int], int] = {}
    for tree in trees:
        waiting = [tree]
        while waiting:
            for entry in os.scandir(waiting.pop()):
                path, facts = Path(entry.path), entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    if path in outside:
                        continue
                    waiting.append(path)
                size, changed = (0, 0) if path in waiting else (facts.st_size, facts.st_mtime_ns)
                found[str(path.relative_to(tree)), size, changed] = size
    return found


def new_guid() -> str:
    return str(uuid.uuid4().int >> 65)


def _copy_file(source: str, target: str) -> None:
    try:
        shutil.copy2(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return  # a lock of a running borg came and went
