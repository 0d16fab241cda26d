"""Which hosts are verified tonight by themselves: a share, so that all are within `verify_every`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import ceil, inf

NIGHT = 86400.0  # seconds


def due(
    last: Mapping[str, datetime | None], every: float, now: datetime, before: datetime | None = None
) -> tuple[str, ...]:
    """Of all hosts, by name when each was read last, those of tonight: the longest ago first.

    `every` is in seconds, 0: none; `before` is when the last share was taken. Never more than their part of
    the time since then, and at least one where one is due; nor more than it takes for the others to come in
    time when as many are read each night from tomorrow on: a single host is read once, and not each night.
    """
    if not every or not last:
        return ()
    ages = {name: (now - at).total_seconds() if at else inf for name, at in last.items()}
    waiting = sorted(ages, key=lambda name: (-ages[name], name))
    passed = min(max((now - before).total_seconds(), NIGHT), every) if before else NIGHT
    most = ceil(len(waiting) * passed / every)
    each = ceil(len(waiting) * min(NIGHT, every) / every)

    def in_time(first: int) -> bool:
        """Whether those from this place on come in time when the others are read tonight."""
        later = enumerate(waiting[first:])
        return all(ages[name] + (1 + place // each) * NIGHT <= every for place, name in later)

    return tuple(waiting[: next(filter(in_time, range(most)), most)])
