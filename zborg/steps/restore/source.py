"""What a restore reads: the snapshot that --at means, on the storage or a target, and a clone of it.

borg needs to lock what it reads, and a snapshot is read-only: so every reader gets a clone, which goes
with it whatever happens. Where nothing may be made (behind a sink) the snapshot is fetched first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from zborg.borg.storage.confine import confine
from zborg.borg.storage.repository import forbid_writing
from zborg.errors import UsageError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Machine, Snapshot, SnapshotName, Target, Zfs
from zborg.model.machines import NAME_PATTERN
from zborg.model.text.remedy import command, remedy
from zborg.planning.restore.select import Label, choose, parse_at
from zborg.steps.context import Context, StepRun, missing, select_hosts, select_targets

_FETCHED = "from-"
_READER = "it is the private key of who may read there (docs/restore.md)"
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
_SCRATCH = re.compile(rf"[^/]+/zborg-scratch/({_FETCHED})?{_RUN.pattern}/(?P<host>[a-z0-9-]+)")


@dataclass(frozen=True)
class Place:
    """One copy of one host's repository: on the storage, or on a target."""

    machine: Machine
    dataset: str
    host: str
    target: str = ""  # "" is the storage
    reader: bool = False  # reached with a key that only reads: nothing can be made there
    aside: bool = False  # a history that was set aside: no dataset of any host

    @property
    def zfs(self) -> Zfs:
        """The ZFS there."""
        return self.machine.zfs

    @property
    def scratch(self) -> str:
        """Parent of zborg's clones there: outside what is snapshotted and replicated."""
        return f"{self.dataset.partition('/')[0]}/zborg-scratch"

    @property
    def where(self) -> str:
        """ " on TARGET" for a message, "" on the storage."""
        return f" on {self.target}" if self.target else ""

    def snapshots(self) -> list[Snapshot]:
        """Those zborg took, oldest first. Raises UsageError when there is none."""
        found = [s for s in self.zfs.snapshots(self.dataset) if s.dataset == self.dataset and s.name]
        if found:
            return found
        if self.aside and not self.zfs.datasets(self.dataset):
            look = command("zfs", "list", "-r", self.dataset.partition("/")[0])
            raise missing(self.zfs, self.dataset, self.where, look)
        if not self.zfs.datasets(self.dataset):
            make = (
                command("zborg", "replicate", self.target)
                if self.target
                else command("zborg", "init", self.host)
            )
            raise missing(self.zfs, self.dataset, self.where, make)
        words = f"there is no snapshot of {self.host} ({self.dataset}{self.where})"
        raise UsageError(words, remedy(command("zborg", "backup", self.host), "zborg snapshot"))


@dataclass(frozen=True)
class Source:
    """Whose copy: the storage's, or a target's; with `identity` by the account there that only reads."""

    target: str = ""
    identity: str = ""
    dataset: str = ""  # a history that was set aside, by its full name; "" is the host's own


STORAGE = Source()


def host_named(context: Context, name: str, source: Source) -> str:
    """A configured host's name; with a set-aside dataset also of one that is no more. Raises UsageError."""
    if source.dataset and NAME_PATTERN.fullmatch(name):
        return name
    (host,) = select_hosts(context.config, [name])
    return host.name


def place_of(context: Context, host: str, source: Source = STORAGE) -> Place:
    """The host's repository there. Raises UsageError for a target or a key that is not."""
    if not source.target and source.identity:
        raise UsageError("--identity is the key of a target's reader", "name the target with --from")
    if not source.target:
        dataset, aside = source.dataset or context.config.storage.dataset_of(host), bool(source.dataset)
        return Place(context.storage, dataset, host, aside=aside)
    (found,) = select_targets(context.config, [source.target])
    if source.identity:
        found = _as_reader(found, Path(source.identity))
    dataset, reader = source.dataset or f"{found.dataset}/{host}", bool(source.identity)
    return Place(context.target(found), dataset, host, found.name, reader, aside=bool(source.dataset))


def _as_reader(target: Target, identity: Path) -> Target:
    if not identity.is_file():
        raise UsageError(f"--identity {identity}: there is no such file", _READER)
    if identity.stat().st_mode & 0o077:  # on a FAT stick every file is; ssh takes none of these
        copy = command("install", "-m", "0600", str(identity), "/root/")
        fix = remedy(copy, first="name a copy that is root's alone, and remove it in the end:")
        raise UsageError(f"--identity {identity}: others can read it, and ssh takes no such key", fix)
    endpoint = replace(target.endpoint, user=target.reader, identity=str(identity.absolute()))
    return replace(target, endpoint=endpoint)


def chosen(run: StepRun, snapshots: Sequence[Snapshot], at: str) -> Snapshot:
    """The one that `--at` means; the newest good one without it. Raises UsageError."""
    moment: SnapshotName | datetime | Label = run.started
    if at:
        here = run.started.astimezone().replace(tzinfo=None)
        moment = parse_at(at, lambda local: local.astimezone(UTC), here)
    return choose(snapshots, moment)


@contextmanager
def clone(run: StepRun, place: Place, snapshot: Snapshot, *, served: bool = False) -> Iterator[str]:
    """The snapshot as a file system of this run; yields its mountpoint.

    A snapshot taken during a backup contains that backup's lock; it is removed here, in the clone. What is
    `served` to a host refuses every commit: it would vanish with the clone.
    """
    clear_stale(run, place)
    made = f"{place.scratch}/{run.id}/{place.host}"
    try:
        home = place.zfs.clone(snapshot.full, made)
        place.machine.runner.run(["rm", "-rf", "--", f"{home}/lock.exclusive", f"{home}/lock.roster"])
        if served:
            forbid_writing(place.machine.runner, home)
            _give(run.context, place.host, home)
        yield home
    finally:
        with cancelled.shielded():
            place.zfs.destroy_clone(made)


def _give(context: Context, host: str, home: str) -> None:
    """A snapshot from before hosts had numbers of their own is served under its host's number as well."""
    storage = context.config.storage
    (known,) = (one for one in context.config.hosts if one.name == host)
    own = next((one for one in context.storage.zfs.datasets(storage.dataset_of(host)) if one.mounted), None)
    like = own.mountpoint if own and own.mountpoint else ""
    confine(context.storage.runner, [home], storage.account_of(known), like=like)


def scratch_host(dataset: str) -> str:
    """The host whose restore made POOL/zborg-scratch/RUN/HOST, cloned or fetched; "" for any other name."""
    found = _SCRATCH.fullmatch(dataset)
    return found["host"] if found else ""


def fetched_below(place: Place, run: str) -> str:
    """The parent of what a run fetches."""
    return f"{place.scratch}/{_FETCHED}{run}"


def clear_stale(run: StepRun, place: Place) -> list[str]:
    """We hold the lock of its restores: what is still there of another run belongs to one that was killed.

    Returns the datasets that were removed.
    """
    depth, own = place.scratch.count("/") + 2, fetched_below(place, run.id)
    found = [one for one in place.zfs.datasets(place.scratch) if one.name.count("/") == depth]
    left = [one for one in found if one.name.rpartition("/")[2] == place.host]
    fetched = [one for one in left if one.name.split("/")[-2].startswith(_FETCHED)]
    cloned = [one.name for one in left if one not in fetched]
    stale = [one.name for one in fetched if one.name.rpartition("/")[0] != own]
    for name in cloned:
        place.zfs.destroy_clone(name)
    for name in stale:
        drop_fetched(place.zfs, name)
    _clear_empty(run, place)
    return [*cloned, *stale]


def _clear_empty(run: StepRun, place: Place) -> None:
    """What runs made for their clones, and were killed before there was one. Others may have just begun."""
    found = place.zfs.datasets(place.scratch)
    full = {one.name.rpartition("/")[0] for one in found}
    yesterday = f"{run.started - timedelta(days=1):%Y%m%dT%H%M%SZ}"
    for one in found:
        of = one.name.removeprefix(f"{place.scratch}/").removeprefix(_FETCHED)
        if _RUN.fullmatch(of) and of < yesterday and one.name not in full:
            place.zfs.remove(one.name, one.guid)


def drop_fetched(zfs: Zfs, name: str) -> None:
    """What was received as `name` in the scratch, whole or in part, and its parent. Gone counts as done."""
    zfs.abort_receive(name)
    parent = name.rpartition("/")[0]
    snapshots = [one for one in zfs.snapshots(parent) if one.dataset == name]
    zfs.destroy(name, {one.snapname: one.guid for one in snapshots})
    for dataset in sorted(zfs.datasets(parent), key=_depth, reverse=True):
        zfs.remove(dataset.name, dataset.guid)


def _depth(dataset: Dataset) -> int:
    return dataset.name.count("/")
