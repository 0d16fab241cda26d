"""Which snapshot `--at` means, and what one may be labelled so that `--at` can mean it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from zborg.errors import UsageError
from zborg.model import PREFIX, Snapshot, SnapshotName, State
from zborg.model.words import counted, moment
from zborg.model.zfs import LABEL

_FORMS = (
    f"give a snapshot's name ({PREFIX}2026-02-12T144933Z) or label, a date (2026-02-12) or 2026-02-12T14:49"
)
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
    return bool(LABEL.fullmatch(text)) and not text.startswith(PREFIX) and not _DATED.match(text)


def parse_at(text: str, to_utc: ToUtc) -> SnapshotName | datetime | Label:
    """A snapshot's exact name, a moment in UTC or a label. Raises UsageError on anything else.

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
    if _is_label(text):
        return Label(text)
    try:
        return _utc(_read(text), to_utc)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r}: neither a snapshot's name or label nor a time", _FORMS) from error


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
    good = [s.raw for s in ordered if s.state is State.OK]
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
        shown = ", ".join(s.raw for s in ordered[-5:])
        return f"none of {counted(len(ordered), 'snapshot')} is good, the newest: {shown}"
    if len(good) == 1:
        return f"of {counted(len(ordered), 'snapshot')} only {good[0]} is good"
    return f"there are {len(good)} good of {counted(len(ordered), 'snapshot')}, from {good[0]} to {good[-1]}"
