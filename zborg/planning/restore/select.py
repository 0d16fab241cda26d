"""Which snapshot `--at` means, and what one may be labelled so that `--at` can mean it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from zborg.errors import UsageError
from zborg.model import PREFIX, Snapshot, SnapshotName, State
from zborg.model.storage.zfs import LABEL
from zborg.model.text.units import counted, moment

_FORMS = (
    f"give a snapshot's name ({PREFIX}2026-02-12T144933Z) or label, a date (2026-02-12), 2026-02-12T14:49, "
    "or 14:49, today, yesterday, a weekday, 'yesterday 14:49'"
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = ("today", "yesterday", *_WEEKDAYS)
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3])(:[0-5][0-9]){1,2}", re.ASCII)
_DATED = re.compile(r"[0-9]{4}-?[0-9W]")  # a mistyped date is no label


ToUtc = Callable[[datetime], datetime]
"""A local time without a zone (and its fold) to UTC, by the offset that was in force on that very day."""


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody called a snapshot."""

    text: str

    def __str__(self) -> str:
        return self.text


def check_label(text: str) -> None:
    """Raises UsageError for what no snapshot may be labelled."""
    if not LABEL.fullmatch(text):
        remedy = "letters and digits, and . _ - not in front, at most 63 in all"
        raise UsageError(f"--label {text!r}: not a label", remedy)
    if not _is_label(text):
        raise UsageError(f"--label {text}: --at would read a name or a date", "such as before-upgrade")


def _is_label(text: str) -> bool:
    plain = not text.startswith(PREFIX) and not _DATED.match(text) and text.lower() not in _DAYS
    return plain and bool(LABEL.fullmatch(text))


def parse_at(text: str, to_utc: ToUtc, now: datetime) -> SnapshotName | datetime | Label:
    """A snapshot's exact name, a moment in UTC or a label. Raises UsageError on anything else.

    `now` is local and without a zone. A time of day means the last time that the clock showed it; a weekday
    the last such day, which may be today. Without an offset a time is local, and a date means its last
    microsecond. A local time that the clocks show twice means the second; one that they skip is read with
    the offset before the gap: both are the later reading, so that nothing the user could have meant is left
    out.
    """
    text = text.strip()
    if text.startswith(PREFIX):
        name = SnapshotName.parse(text)
        if name is None:
            raise UsageError(f"{text!r}: not the name of a snapshot", _FORMS)
        return name
    if _is_label(text):
        return Label(text)
    try:
        return _utc(_relative(text, now) or _read(text), to_utc)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r}: neither a snapshot's name or label nor a time", _FORMS) from error


def _relative(text: str, now: datetime) -> datetime | None:
    """A time of day, a day by its name, or both; None for anything else."""
    *day, clock = text.lower().split() or [""]
    if not _CLOCK.fullmatch(clock):
        day, clock = [*day, clock], ""
    if len(day) > 1 or not all(one in _DAYS for one in day):
        return None
    at = time.fromisoformat(clock.rjust(len(clock) + (clock[1] == ":"), "0")) if clock else time.max
    if day:
        return datetime.combine(now.date() - timedelta(days=_days_ago(day[0], now)), at)
    today = datetime.combine(now.date(), at)
    return today if today <= now else today - timedelta(days=1)


def _days_ago(day: str, now: datetime) -> int:
    return (now.weekday() - _WEEKDAYS.index(day)) % 7 if day in _WEEKDAYS else _DAYS.index(day)


def _read(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time.max)
    except ValueError:
        return datetime.fromisoformat(text)


def _utc(at: datetime, to_utc: ToUtc) -> datetime:
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    return max(to_utc(at.replace(fold=fold)) for fold in (0, 1))


def choose(snapshots: Sequence[Snapshot], at: SnapshotName | datetime | Label) -> Snapshot:
    """Of one dataset's snapshots the one `at` names, whatever its state, or the newest good one not later.
    Of several with one label the newest.

    Raises UsageError, which names what there is, when there is none.
    """
    named = [(name, snapshot) for snapshot in snapshots if (name := snapshot.name)]
    named.sort(key=lambda pair: pair[0])
    if isinstance(at, SnapshotName):
        fitting = [snapshot for name, snapshot in named if name == at]
    elif isinstance(at, Label):
        fitting = [snapshot for _, snapshot in named if snapshot.label == at.text]
    else:
        fitting = [snapshot for name, snapshot in named if name.at <= at and snapshot.state is State.OK]
    if not fitting:
        raise _nothing([snapshot for _, snapshot in named], at)
    return fitting[-1]


def _nothing(ordered: Sequence[Snapshot], at: SnapshotName | datetime | Label) -> UsageError:
    good = [s.snapname for s in ordered if s.state is State.OK]
    if isinstance(at, Label):
        return UsageError(f"there is no snapshot labelled {at}; {_inventory(ordered, good)}", _FORMS)
    if isinstance(at, SnapshotName):
        message = f"there is no snapshot {at}"
    else:
        message = f"there is no good snapshot at or before {moment(at)}"
    return UsageError(f"{message}; {_inventory(ordered, good)}", "name one of these")


def _inventory(ordered: Sequence[Snapshot], good: Sequence[str]) -> str:
    if not ordered:
        return "there is none at all"
    if not good:
        shown = ", ".join(s.snapname for s in ordered[-5:])
        return f"none of {counted(len(ordered), 'snapshot')} is good, the newest: {shown}"
    if len(good) == 1:
        return f"of {counted(len(ordered), 'snapshot')} only {good[0]} is good"
    return f"there are {len(good)} good of {counted(len(ordered), 'snapshot')}, from {good[0]} to {good[-1]}"
