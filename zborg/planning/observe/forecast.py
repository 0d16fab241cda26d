"""When a pool would be full: a straight line through what it held. Pure.

The slope is the median of those between any two days (Theil and Sen): a few odd days, such as a large
deletion that was undone, do not turn it, as they would turn the line of least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import combinations
from statistics import median

from zborg.model.figures import Forecast

_FEWEST = 7  # days that were seen; of less the next big backup would decide
_LATEST = 90  # days that count: how a pool fills changes with its hosts
_FAR = 5 * 365  # days; beyond that it is a guess


def forecast(used: Sequence[tuple[date, float]], size: float, ahead: int) -> Forecast | None:
    """`used` is bytes by day, oldest first; the line goes `ahead` days on, or until the pool is full.

    None: too few days for one.
    """
    recent = [(day, held) for day, held in used if (used[-1][0] - day).days < _LATEST]
    if len(recent) < _FEWEST:
        return None
    last = recent[-1][0]
    points = [((day - last).days, held) for day, held in recent]
    slope = median((b - a) / (y - x) for (x, a), (y, b) in combinations(points, 2))
    held = median(bytes_ - slope * x for x, bytes_ in points)  # the line's, on the last day
    left = _days_left(held, slope, size)
    end = ahead if left is None else min(ahead, left)
    line = tuple((last + timedelta(days=n), min(max(held + slope * n, 0.0), size)) for n in sorted({0, end}))
    return Forecast(slope, None if left is None else last + timedelta(days=left), line)


def _days_left(held: float, slope: float, size: float) -> int | None:
    """Whole days until it is full; None when it does not fill, or so slowly that it is a guess."""
    if held >= size:
        return 0
    days = (size - held) / slope if slope > 0 else _FAR + 1
    return int(days) if days <= _FAR else None
