"""Datasets, their snapshots and what holds these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from zborg.model.results.base import Result


class SnapshotTaken(Result):
    """A dataset's snapshot."""

    snapshot: str | None  # its full name
    state: str | None  # of the host's backup: ok, failed, busy; null: there was none
    transaction: int | None = None  # the repository's last commit in it


class NoSnapshot(Result):
    """A snapshot that was not taken, for nothing changed."""

    snapshot: str | None  # null


class Labelled(Result):
    """A snapshot that got a label."""

    label: str  # the label


class Rotated(Result):
    """What rotation did with a dataset, or would do."""

    destroy: tuple[str, ...] = ()  # names that would be destroyed
    destroyed: tuple[str, ...] | None = None  # names
    freed: int | None = None  # that destroying them would free
    frozen: bool = False  # its snapshots are not rotated
    orphan: str = ""  # the name that no host has


class GivenUp(Result):
    """A cut stream that its sender gave up."""

    given_up: int  # bytes of it that had arrived


class Arrivals(Result):
    """What came to an off-site."""

    newest: Mapping[str, datetime | None]  # by dataset


class ListedSnapshot(Result):
    """A snapshot in `restore list`."""

    state: str | None  # of the host's backup: ok, failed, busy; null: there was none
    transaction: str | None  # the repository's last commit in it
    label: str | None  # null: none
    guid: str  # ZFS's
    used: int  # that it alone holds
    holds: int  # how many it has
    created: datetime  # when it was taken
    created_here: str  # in the server's own time zone
    files: int | None = None  # in the newest good archive in it
    original_bytes: int | None = None  # in the newest good archive in it


class HeldSnapshot(Result):
    """A hold that was placed or released."""

    tag: str  # of the hold


class ListedHold(HeldSnapshot):
    """A hold in `holds list`."""

    purpose: str  # what it is for
    label: str | None  # of its snapshot
    owner: str  # whose it is
    since: datetime  # when it was placed
    until: date | None  # its last day, null: for good
    stale: str  # why it is not needed any more, empty: it is


class Frozen(Result):
    """A host whose snapshots are not rotated."""

    frozen: bool  # true
