"""What hosts read of their own backups again."""

from __future__ import annotations

from datetime import datetime

from zborg.model.results.base import Result
from zborg.model.results.steps import StepState


class DrilledHost(Result):
    """A host in `drill`: what it read of its own backup, and found to be as it was backed up or not."""

    snapshot: str = ""  # that was lent, dataset@name
    taken: datetime | None = None  # when that snapshot was taken
    target: str = ""  # whose copy it was; absent: the storage's own
    archive: str = ""  # its name
    matched: int = 0  # files that were read, and are as they were backed up
    bytes: int = 0  # of these
    mismatched: int = 0  # files that are not as they were backed up
    sampled: int = 0  # files that the host had chosen when it made the archive
    population: int = 0  # files that it chose them from
    took: int = 0  # seconds that borg took there, its start too
    rate: float | None = None  # bytes a second
    whole_seconds: float | None = None  # that a restore of the whole archive takes at that rate


class DrillState(StepState):
    """Drills in `status`."""

    drilled: int  # hosts that were drilled within `drill_max_age`
    hosts: int  # how many there are
    last: datetime | None = None  # when the last one of any host ended
