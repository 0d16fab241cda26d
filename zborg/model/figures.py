"""What `zborg report` shows. Sizes are bytes, durations seconds, days those of this machine's calendar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from zborg.model.report import Outcome
from zborg.model.results import Trend


@dataclass(frozen=True, slots=True)
class Day:
    """What the night of one day came to: how many hosts were good, who of them gave cause for a look, and the
    status of the others."""

    day: date
    good: int
    warned: Sequence[str]
    bad: Mapping[str, str]
    new_bytes: int
    seconds: float

    @property
    def word(self) -> str:
        """One of none, failed, partial, warned and good: the day's colour in the calendar."""
        if not self.good and not self.bad:
            return "none"
        if self.bad:
            return "partial" if self.good else "failed"
        return "warned" if self.warned else "good"


@dataclass(frozen=True, slots=True)
class Backups:
    """One host's backups of the days from `day` on: the last size, all that was new, the middle duration.

    None: no good backup has the number.
    """

    day: date
    good: int
    of: int
    original_bytes: int | None
    new_bytes: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """When something last showed that a host could be restored; None: never in these days."""

    backup: datetime | None
    snapshot: datetime | None  # of a good backup
    copies: Mapping[str, datetime | None]  # by target the last replication that went well
    restore: datetime | None
    sealed: bool  # its key lies here for the custodians
    verified: datetime | None = None  # read whole, and found as the ledger has it


@dataclass(frozen=True, slots=True)
class HostFigures:
    """What is shown of one host."""

    name: str
    backups: Sequence[Backups]
    trend: Trend
    proof: Proof


@dataclass(frozen=True, slots=True)
class Forecast:
    """A straight line through what a pool held. `full` is when nothing more would fit, None: not so soon."""

    bytes_a_day: float
    full: date | None
    line: Sequence[tuple[date, float]]  # bytes in use on days to come


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """`used` is a pool's last sight of each day, in bytes; `seen` the whole last one."""

    name: str
    used: Sequence[tuple[date, int]]
    size: int
    seen: Outcome
    forecast: Forecast | None  # None: of too few days


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """`behind` is by day how many days the dataset that waited longest had waited then."""

    name: str
    behind: Sequence[tuple[date, int]]


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """The ledger as this server knows it; `signed` is when its last checkpoint was made."""

    entries: int
    bytes: int
    signed: datetime


@dataclass(frozen=True, slots=True)
class CompactionFigures:
    """What is known of one host's compactions."""

    name: str
    looked: datetime | None  # when it was last compacted, or nothing was worth it
    freed: int  # by the last one
    gain: int  # what it could give back and was not worth it yet
    held: int  # snapshots whose quarantine has not ended
    held_until: datetime | None  # when the last of these ends


@dataclass(frozen=True, slots=True)
class Figures:
    """`step` is how many days a row of a host's table and a point of its plots stand for."""

    first: date
    last: date
    step: int
    calendar: Sequence[Day]
    hosts: Sequence[HostFigures]
    pools: Sequence[PoolFigures]
    targets: Sequence[TargetFigures]
    ledger: LedgerFigures | None = None  # None: it was not begun
    compactions: Sequence[CompactionFigures] = ()
