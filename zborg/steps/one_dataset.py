"""A snapshot of one dataset alone, between those that `zborg snapshot` takes of all."""

from __future__ import annotations

from collections.abc import Mapping

from zborg.borg.storage.repository import last_transactions
from zborg.errors import Conflict
from zborg.interrupt import cancelled
from zborg.model import P_STATE, P_TRANSACTION, Dataset, Snapshot, SnapshotName
from zborg.steps.context import Context

_MARKS = (P_STATE, P_TRANSACTION)  # what it has of the one before


def newest_of(context: Context, dataset: str) -> Snapshot | None:
    """The newest one that zborg took of this dataset."""
    found = context.storage.zfs.snapshots(dataset)
    return next((one for one in reversed(found) if one.dataset == dataset and one.name), None)


def take(context: Context, dataset: Dataset, newest: Snapshot | None) -> Snapshot:
    """A snapshot later than `newest`; without the id of a run, for none of all is it part.

    It has the marks of `newest` where the repository's last commit is still the one that they are of.

    Names are to the second, and none is of a time that is still to come: a rotation would wait for it. Raises
    Conflict when the clock does not pass the newest one.
    """
    marks = _marks(context, dataset, newest)
    name = name_after(context, newest.name if newest else None)
    if name is None:
        raise Conflict(
            f"the clock says {context.clock():%Y-%m-%d %H:%M:%S} UTC, but {newest and newest.full} is there",
            "set the clock",
        )
    return _taken(context, dataset.name, str(name), marks)


def _marks(context: Context, dataset: Dataset, newest: Snapshot | None) -> dict[str, str]:
    home = dataset.mountpoint or ""
    last = last_transactions(context.storage.runner, [home]).get(home, 0)
    if newest is None or newest.properties.get(P_TRANSACTION) != str(last):
        return {}
    return {key: newest.properties[key] for key in _MARKS if key in newest.properties}


def name_after(context: Context, last: SnapshotName | None) -> SnapshotName | None:
    """A name of now, a second later if need be; None when the clock is behind `last`."""
    if last and SnapshotName.of(context.clock()) <= last:
        cancelled.wait(1.0)
    now = SnapshotName.of(context.clock())
    return now if last is None or now > last else None


def _taken(context: Context, dataset: str, name: str, marks: Mapping[str, str]) -> Snapshot:
    zfs = context.storage.zfs
    zfs.snapshot(dataset, name, marks)
    return next(one for one in zfs.snapshots(dataset) if one.dataset == dataset and one.snapname == name)
