"""Targets, replicas and pools."""

from __future__ import annotations

from datetime import date, datetime

from zborg.model.results.base import Result
from zborg.model.results.steps import StepState


class Replicated(Result):
    """What was sent of one dataset."""

    streams: int  # how many were sent
    bytes: int  # in all
    lost_bytes: int | None = None  # of a cut stream that had to be given up
    snapshot: str = ""  # the newest that arrived


class Contradiction(Result):
    """A copy that contradicts its source."""

    conflict: str  # its kind
    sides: tuple[str, ...]  # both, a line each


class Verified(Result):
    """A dataset and its copy compared by `replicate --verify`; names of snapshots."""

    common: int  # how many both have
    unsent: tuple[str, ...]  # newer than the newest common one
    here: tuple[str, ...]  # that only the source has besides
    there: tuple[str, ...]  # that only the target has


class PoolState(Result):
    """A pool as it was seen."""

    health: str  # ZFS's word
    scrub: str  # never, running, finished, canceled, hidden (behind a resilver)
    scrub_finished: datetime | None  # null: the last did not finish
    scan_ended: datetime | None  # when the last scrub or resilver ended
    errors: int  # of data
    repaired: int  # by the last scrub
    device_errors: int  # of the device that has most
    devices: tuple[str, ...]  # that are not well
    damaged: tuple[str, ...]  # files, or hosts whose repositories are damaged
    size: int  # of the pool
    free: int  # of it


class PoolUse(Result):
    """A pool in `report`."""

    size: int  # of the pool
    used: int  # of it


class PoolForecast(PoolUse):
    """The same, where enough days are known."""

    bytes_a_day: float  # by which it grows
    full: date | None  # null: not in five years


class TargetLag(Result):
    """A target in `report`."""

    days_behind: int  # now
    worst: int  # days


class PublishedReport(Result):
    """What a target's own zborg has left there for its senders."""

    told: str  # as it stands there
    seen: datetime  # when it was read


class TargetState(StepState):
    """A replication in `status`, and how far the target is behind."""

    behind: tuple[str, ...]  # datasets without the newest snapshot
    lag: float | None  # since the last good replication of the one that waits longest, null: never
    lag_bytes: int  # about
