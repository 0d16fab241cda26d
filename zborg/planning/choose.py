"""Which snapshot `--at` means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time

from zborg.errors import UsageError
from zborg.model import PREFIX, Snapshot, SnapshotName, State
from zborg.model.words import counted, moment

_FORMS = f"give a snapshot's name ({PREFIX}2026-02-12T144933Z), a date (2026-02-12) or 2026-02-12T14:49"


ToUtc = Callable[[datetime], datetime]
"""A local time without a zone (and its fold) to UTC, by the offset that was in force on that very day."""


def parse_at(text: str, to_utc: ToUtc) -> SnapshotName | datetime:
    """A snapshot's exact name, or a moment in UTC. Raises UsageError on anything else.

    Without an offset a time is local, and a date means its last microsecond. A local time that the
    clocks show twice means the second; one that they skip is read with the offset before the gap: both
    are the later reading, so that nothing the user could have meant is left out.
    """
    text = text.strip()
    if text.startswith(PREFIX):
        name = SnapshotName.parse(text)
        if name is None:
            raise UsageError(f"{text!r}: not the name of a snapshot", _FORMS)
        return name
    try:
        return _utc(_read(text), to_utc)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r}: neither a snapshot's name nor a date or time", _FORMS) from error


def _read(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time.max)
    except ValueError:
        return datetime.fromisoformat(text)


def _utc(at: datetime, to_utc: ToUtc) -> datetime:
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    return max(to_utc(at.replace(fold=fold)) for fold in (0, 1))


def choose(snapshots: Sequence[Snapshot], at: SnapshotName | datetime) -> Snapshot:
    """Of one dataset's snapshots the one `at` names, whatever its state, or the newest good one not later.

    Raises UsageError, which names what there is, when there is none.
    """
    named = [(name, snapshot) for snapshot in snapshots if (name := snapshot.name)]
    named.sort(key=lambda pair: pair[0])
    if isinstance(at, SnapshotName):
        fitting = [snapshot for name, snapshot in named if name == at]
    else:
        fitting = [snapshot for name, snapshot in named if name.at <= at and snapshot.state is State.OK]
    if not fitting:
        raise _nothing([snapshot for _, snapshot in named], at)
    return fitting[-1]


def _nothing(ordered: Sequence[Snapshot], at: SnapshotName | datetime) -> UsageError:
    good = [s.raw for s in ordered if s.state is State.OK]
    if isinstance(at, SnapshotName):
        message = f"there is no snapshot {at}"
    else:
        message = f"there is no good snapshot at or before {moment(at)}"
    return UsageError(f"{message}; {_inventory(ordered, good)}", "name one of these")


def _inventory(ordered: Sequence[Snapshot], good: Sequence[str]) -> str:
    if not ordered:
        return "there is none at all"
    if not good:
        shown = ", ".join(s.raw for s in ordered[-5:])
        return f"none of {counted(len(ordered), 'snapshot')} is good, the newest: {shown}"
    if len(good) == 1:
        return f"of {counted(len(ordered), 'snapshot')} only {good[0]} is good"
    return f"there are {len(good)} good of {counted(len(ordered), 'snapshot')}, from {good[0]} to {good[-1]}"
