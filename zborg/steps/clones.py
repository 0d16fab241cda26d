"""What a restore reads: the snapshot that --at means, on the storage or a target, and a clone of it.

borg needs to lock what it reads, and a snapshot is read-only: so every reader gets a clone, which goes
with it whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from zborg.errors import UsageError
from zborg.interrupt import cancelled
from zborg.model import Host, Runner, Snapshot, SnapshotName, Zfs
from zborg.planning.choose import choose, parse_at
from zborg.steps.context import Begun, Context, missing, select_targets


@dataclass(frozen=True)
class Place:
    """One copy of one host's repository: on the storage, or on a target."""

    zfs: Zfs
    machine: Runner
    dataset: str
    host: str
    target: str = ""  # "" is the storage

    @property
    def scratch(self) -> str:
        """Parent of zborg's clones there: outside what is snapshotted and replicated."""
        return f"{self.dataset.partition('/')[0]}/zborg-scratch"

    @property
    def where(self) -> str:
        return f" on {self.target}" if self.target else ""

    def snapshots(self) -> list[Snapshot]:
        """Those zborg took, oldest first. Raises UsageError when there is none."""
        found = [s for s in self.zfs.snapshots(self.dataset) if s.dataset == self.dataset and s.name]
        if found:
            return found
        if not self.zfs.datasets(self.dataset):
            make = "zborg replicate" if self.target else f"zborg init {self.host}"
            raise missing(self.zfs, self.dataset, self.where, make)
        words = f"there is no snapshot of {self.host} ({self.dataset}{self.where})"
        raise UsageError(words, "zborg backup && zborg snapshot")


def place_of(context: Context, host: Host, target: str = "") -> Place:
    """The host's repository on the storage, or on the target of that name (UsageError if there is none)."""
    if not target:
        dataset = context.config.storage.dataset_of(host.name)
        return Place(context.zfs, context.storage, dataset, host.name)
    (found,) = select_targets(context.config, [target])
    dataset = f"{found.dataset}/{host.name}"
    return Place(context.zfs_of(found), context.machine_of(found), dataset, host.name, target)


def chosen(begun: Begun, snapshots: Sequence[Snapshot], at: str) -> Snapshot:
    """The one that `--at` means; the newest good one without it. Raises UsageError."""
    moment: SnapshotName | datetime = begun.started
    if at:
        moment = parse_at(at, lambda local: local.astimezone(UTC))
    return choose(snapshots, moment)


@contextmanager
def clone(begun: Begun, place: Place, snapshot: Snapshot) -> Iterator[str]:
    """The snapshot as a writable file system of this run; yields its mountpoint.

    A snapshot taken during a backup contains that backup's lock; it is removed here, in the clone.
    """
    _clear_stale(place)
    made = f"{place.scratch}/{begun.run}/{place.host}"
    try:
        home = place.zfs.clone(snapshot.full, made)
        place.machine.run(["rm", "-rf", "--", f"{home}/lock.exclusive", f"{home}/lock.roster"])
        yield home
    finally:
        with cancelled.shielded():
            place.zfs.destroy_clone(made)


def _clear_stale(place: Place) -> None:
    """We hold the lock of its restores: a clone that is still there belongs to a run that was killed."""
    for dataset in place.zfs.datasets(place.scratch):
        if dataset.name.count("/") == place.scratch.count("/") + 2 and dataset.name.endswith(
            f"/{place.host}"
        ):
            place.zfs.destroy_clone(dataset.name)
