"""What a host's nights have in common, and what all hosts came to in one: entries in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from statistics import median

from zborg.model import Entry, Outcome, Status
from zborg.model.results import HostBackup, Trend, backup_of

_SILENT = (Status.SKIPPED, Status.BUSY)  # those say nothing of the host itself


@dataclass(frozen=True, slots=True)
class Night:
    """All backups that began on one day of the calendar; `seconds` are those in which any was at work.

    A host that was good once that day was good; of the others the last outcome counts.
    """

    day: date
    hosts: Mapping[str, Outcome]
    seconds: float

    @property
    def good(self) -> tuple[str, ...]:
        """The names of the hosts that were, sorted."""
        return tuple(sorted(name for name, one in self.hosts.items() if one.status.good))

    @property
    def bad(self) -> dict[str, str]:
        """By host its status."""
        return {name: one.status.value for name, one in sorted(self.hosts.items()) if not one.status.good}

    def total(self, number: Callable[[HostBackup], int | None]) -> int:
        """The sum of one number of the good hosts, in its unit; a host without it counts as 0."""
        return sum(number(backup_of(self.hosts[name].result)) or 0 for name in self.good)


def nights(entries: Iterable[Entry], zone: tzinfo | None = None) -> tuple[Night, ...]:
    """Oldest first, and those in between in which nothing ran as well. `zone` None: this machine's."""
    days: dict[date, list[Entry]] = {}
    for entry in entries:
        if entry.command == "backup" and entry.outcome.status not in _SILENT:
            days.setdefault(entry.started.astimezone(zone).date(), []).append(entry)
    if not days:
        return ()
    first, last = min(days), max(days)
    every = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return tuple(_night(day, days.get(day, [])) for day in every)


def _night(day: date, entries: Sequence[Entry]) -> Night:
    hosts: dict[str, Outcome] = {}
    for entry in sorted(entries, key=lambda one: one.ended):
        known = hosts.get(entry.outcome.subject)
        if known is None or entry.outcome.status.good or not known.status.good:
            hosts[entry.outcome.subject] = entry.outcome
    return Night(day, hosts, _at_work(entries))


def _at_work(entries: Iterable[Entry]) -> float:
    """Seconds in which at least one backup ran: a run by night and one by day do not take the day between."""
    total, until = 0.0, None
    for one in sorted(entries, key=lambda one: one.started):
        begun = one.started if until is None else max(one.started, until)
        total += max((one.ended - begun).total_seconds(), 0.0)
        until = one.ended if until is None else max(until, one.ended)
    return total


def trend(entries: Sequence[Entry]) -> Trend:
    """Of one host's entries, the newest last: how many were good, what is usual, and how much it grew."""
    relevant = [one for one in entries if one.command == "backup" and one.outcome.status not in _SILENT]
    good = [one for one in relevant if one.outcome.status.good]
    backups = [(one.ended, backup_of(one.outcome.result)) for one in good]
    seconds = [one.seconds for _, one in backups if one.seconds is not None]
    new = [one.new_bytes for _, one in backups if one.new_bytes is not None]
    found = Trend(
        good=len(good),
        of=len(relevant),
        usual_seconds=median(seconds) if seconds else None,
        usual_new_bytes=median(new) if new else None,
    )
    sizes = [(ended, one.original_bytes) for ended, one in backups if one.original_bytes]
    if len(sizes) < 2:
        return found
    (since, first), (_, last) = sizes[0], sizes[-1]
    return found.replace(since=since, original_bytes=last, growth=last / first - 1)
