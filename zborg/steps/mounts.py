"""Whether a host's dataset is mounted where `borg serve` looks, and the one answer when it is not."""

from __future__ import annotations

from zborg.borg.storage.repository import entries
from zborg.errors import CommandFailed, ZborgError
from zborg.model import Dataset, Storage
from zborg.model.storage.mounting import Mounting, Wanted, reason, remedy
from zborg.planning.doctor.storage import place_of
from zborg.steps.context import Context


def wanted(storage: Storage, root: Dataset | None) -> Wanted:
    """Below the storage's dataset, `root`: `borg serve` is started in its directory and sees no other."""
    return Wanted(machine_of(storage), storage.dataset, root.mountpoint if root else None)


def machine_of(storage: Storage) -> str:
    """The storage's machine as a reason names it."""
    return place_of(storage) or "this machine"


def check_mounted(context: Context, dataset: Dataset, root: Dataset | None) -> str:
    """Its mountpoint. Raises ZborgError with the reason and the commands that mount it.

    An unmounted one would mean a new repository on the disk below and a history apparently lost, so nothing
    is ever served from there.
    """
    at = wanted(context.config.storage, root)
    place = at.place(dataset.name)
    if root and root.mountpoint and dataset.mounted and dataset.mountpoint == place:
        return place
    found = context.storage.zfs.mounting(dataset.name)
    covered = _is_covered(context, found, place)
    why = reason(found, at, occupied=covered) or "it changed just now"
    raise ZborgError(
        f"the dataset {dataset.name} is not mounted at {place} on {at.machine}: {why}",
        remedy(found, at, occupied=covered),
    )


def _is_covered(context: Context, found: Mounting, place: str) -> bool:
    """Whether files lie in the directory that it would be mounted on; ZFS minds only with overlay=off."""
    if found.mounted or found.overlay:
        return False
    try:
        return bool(entries(context.storage.runner, place))
    except CommandFailed as error:
        if error.retryable:
            raise
        return False  # there is no such directory
