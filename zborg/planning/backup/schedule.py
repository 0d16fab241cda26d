"""A fleet's night: who goes first, how long the rest may take, when to try again. Pure; times in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from math import inf

_FIRST_WAIT, _LONGEST_WAIT = 10.0, 300.0
_EARLY = timedelta(hours=1)  # a cron line does not start at the same second every night


def typical(seconds: Sequence[float]) -> float:
    """What several nights took as one number: the median, which one odd night does not move."""
    # Not statistics.median: with what it imports, that module costs `zborg status` a tenth of its time.
    ordered, half = sorted(seconds), len(seconds) // 2
    return ordered[half] if len(seconds) % 2 else (ordered[half - 1] + ordered[half]) / 2


def longest_first(names: Iterable[str], expected: Mapping[str, float]) -> tuple[str, ...]:
    """Names in the order of their start; hosts without a history first, else in the given order.

    Begun last, a long backup would end the night alone. A host that nobody knows is most likely a new
    one, whose first backup sends everything.
    """
    return tuple(sorted(names, key=lambda name: -expected.get(name, inf)))


def remaining(running: Iterable[float], waiting: Sequence[float], parallel: int) -> float:
    """Seconds until all have ended, if `parallel` at once are done in this order.

    `running` is what each running one still takes (below 0: any moment), `waiting` what each of the
    others takes in all.
    """
    slots = [max(0.0, left) for left in running]
    slots += [0.0] * (parallel - len(slots))
    heapify(slots)
    for seconds in waiting:
        heapreplace(slots, slots[0] + seconds)
    return max(slots, default=0.0)


def guessed(names: Iterable[str], expected: Mapping[str, float]) -> dict[str, float] | None:
    """Each one's expected seconds, the mean of the known for the others; None when none is known."""
    if not expected:
        return None
    mean = sum(expected.values()) / len(expected)
    return {name: expected.get(name, mean) for name in names}


def backoff(tried: int, chance: float) -> float:
    """Seconds to wait after `tried` failed tries: 10, 20, 40 ... at most 300, of which half is by chance.

    `chance` is from 0 to 1: hosts that were lost at one moment must not come back at one.
    """
    whole = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tried - 1, 10))
    return whole * (1 + chance) / 2


def prune_is_due(last: datetime | None, now: datetime, every: int) -> bool:
    """Whether a host is to prune tonight; `every` is in seconds, and 0 means never."""
    if not every:
        return False
    wait = timedelta(seconds=every)
    if last is None or last - now > wait:  # so far in the future it was noted by a wrong clock
        return True
    return now - last >= wait - min(_EARLY, wait / 10)
