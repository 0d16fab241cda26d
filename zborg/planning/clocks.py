"""Clocks of several machines: which one is right is not known, that they differ is."""

from __future__ import annotations

from datetime import datetime, timedelta

from zborg.model.text.remedy import remedy
from zborg.model.text.units import duration, moment

APART = timedelta(minutes=5)
"""Worth a warning: asking takes seconds, and NTP keeps machines within one."""

FAR = timedelta(hours=1)
"""Too far for a new snapshot: its name is this machine's word for when it was taken, for good."""

REMEDY = remedy(
    "date -u", "timedatectl set-ntp true", first="compare the clocks, and let NTP set the wrong one:"
)


def apart(whose: str, there: datetime, here: datetime, limit: timedelta = APART) -> str:
    """What to say of two clocks that were read at once; "" while they differ by no more than `limit`."""
    gap = abs(there - here)
    if gap <= limit:
        return ""
    side = "behind" if there < here else "ahead"
    return (
        f"the clock of {whose} says {moment(there)} and is {duration(gap.total_seconds())} {side}: "
        f"here it is {moment(here)}"
    )
