"""Which hosts are drilled tonight, and from which copy; which had their last drill too long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from zborg.planning.verify import share

STORAGE = ""
"""The source that is no target."""


@dataclass(frozen=True)
class Past:
    """One host's drills. `asked`: by source the last, whatever came of it; `read`: the last that read."""

    asked: Mapping[str, datetime] = field(default_factory=dict)
    read: datetime | None = None

    @property
    def tried(self) -> datetime | None:
        """The last, from wherever it was."""
        return max(self.asked.values(), default=None)


def tonight(
    pasts: Mapping[str, Past],
    targets: Sequence[str],
    every: float,
    now: datetime,
    before: datetime | None = None,
) -> tuple[tuple[str, str], ...]:
    """(host, source) of those whose turn it is, as `verify` takes its share; `every` in seconds, 0: none.

    `targets` are those that can be read from here. A source that a host was never asked to read comes first,
    the storage before all; else the one of which that was longest ago: so they take turns, and one that is
    away keeps nobody from the others.
    """
    names = share.due({name: one.tried for name, one in pasts.items()}, every, now, before)
    return tuple((name, turn(pasts[name], targets)) for name in names)


def turn(past: Past, targets: Sequence[str]) -> str:
    """The source of a host's next drill."""
    known = [STORAGE, *targets]
    never = [one for one in known if one not in past.asked]
    return never[0] if never else min(known, key=lambda one: past.asked[one])


def late(pasts: Mapping[str, Past], max_age: float, now: datetime) -> tuple[str, ...]:
    """Those that have had none for `max_age` seconds; 0: nobody."""
    since = now - timedelta(seconds=max_age)
    return tuple(name for name, one in pasts.items() if max_age and (one.read is None or one.read < since))
