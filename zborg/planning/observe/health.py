"""What is wrong, or right, with pools and backups: facts in, findings out.

Levels: WARNING should be looked at, FAILED is overdue, never done or degraded (exit 4), DAMAGED means
that data is known to be broken (exit 13).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from zborg.model import Finding, Pool, Scrub, Status
from zborg.model.machines import Fullness
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, duration, moment, size

SKEW = 300
"""Seconds by which a fact may seem to be younger than `now`: gathering takes time, clocks differ a little."""

_TOLD = 5  # names in one message; the JSON form has all

_FORGOTTEN = {
    Scrub.CANCELED: "the last scrub was canceled or paused",
    Scrub.HIDDEN: "the last scrub is hidden by a resilver or an error scrub",
}


def scrub_findings(pools: Iterable[Pool], max_age_seconds: int, now: datetime) -> tuple[Finding, ...]:
    """Per pool its health and errors where they are bad, and always one finding about its scrub."""
    return tuple(
        finding for pool in pools for finding in (*_integrity(pool), _scrub(pool, max_age_seconds, now))
    )


def capacity_findings(pools: Iterable[Pool], limits: Fullness) -> tuple[Finding, ...]:
    """One for each pool that is fuller than a limit, by the worst that it is past."""
    levels = ((limits.failed, Status.FAILED), (limits.warning, Status.WARNING))
    found = []
    for pool in pools:
        for percent, level in levels:
            if 100 * _used(pool) > percent * pool.size:
                words = f"{_used(pool) / pool.size:.1%} of the pool is used, more than {percent}%"
                found.append(
                    Finding(pool.name, level, words, command("zfs", "list", "-r", "-o", "space", pool.name))
                )
                break
    return tuple(found)


def due(first: datetime | None, limit: int, now: datetime) -> datetime | None:
    """When what was never done is due: `limit` seconds after it was first configured. None: it is overdue.

    A `first` that is unknown, or still to come, excuses nothing.
    """
    if first is None or (now - first).total_seconds() < -SKEW:
        return None
    at = first + timedelta(seconds=limit)
    return at if at > now else None


def host_findings(
    last_good: Mapping[str, datetime | None],
    max_age: Mapping[str, int],
    first: Mapping[str, datetime | None],
    now: datetime,
) -> tuple[Finding, ...]:
    """One finding per host of `max_age` (seconds, by host): good, overdue, never backed up or not due yet.

    `first` is when a host was first configured; it is looked at for those that were never good.
    """
    return tuple(
        _host(host, last_good.get(host), first.get(host), limit, now) for host, limit in max_age.items()
    )


def arrival_finding(
    root: str,
    newest: Mapping[str, datetime | None],
    max_age: int,
    now: datetime,
    first: datetime | None = None,
) -> Finding:
    """Whether anything still arrives at an off-site; `newest` is the last arrival per dataset below `root`.

    One dataset may be of a host that is no more, or that had no news: alone it is a warning. `first` is since
    when this off-site is in use.
    """
    last = max((at for at in newest.values() if at), default=None)
    there = on("the server", "zborg status", "zborg replicate")
    if last is None:
        if at := due(first, max_age, now):
            return Finding(root, Status.PENDING, f"nothing arrived yet; due by {moment(at)}")
        return Finding(root, Status.FAILED, "nothing ever arrived", there)
    age = (now - last).total_seconds()
    if age < -SKEW:
        return _from_the_future(root, f"the last snapshot arrived at {moment(last)}")
    if age > max_age:
        message = f"nothing arrived for {duration(age)}, the limit is {duration(max_age)}"
        return Finding(root, Status.FAILED, message, there)
    arrived = f"the last snapshot arrived {duration(max(age, 0))} ago"
    if still := sorted(name for name, at in newest.items() if not at or (now - at).total_seconds() > max_age):
        message = f"{arrived}; nothing for more than {duration(max_age)}: {_some(still)}"
        return Finding(root, Status.WARNING, message, _aside(root, still[0]))
    return Finding(root, Status.OK, arrived)


def _aside(root: str, dataset: str) -> str:
    """For a copy of a host that is gone: out of what is looked at, with its snapshots."""
    out = f"{root.partition('/')[0]}/{dataset.rpartition('/')[2]}-retired"
    first = (
        f"is the host alive, then zborg replicate on the server shows why; is it gone, move {dataset} out:"
    )
    return remedy(
        command("zfs", "rename", "-u", dataset, out), first=first.replace("zborg replicate", "replication")
    )


def _used(pool: Pool) -> int:
    return pool.size - pool.free


def _integrity(pool: Pool) -> Iterator[Finding]:
    look = command("zpool", "status", "-v", pool.name)
    named = f" ({_some(pool.devices)})" if pool.devices else ""
    if pool.health != "ONLINE":
        yield Finding(pool.name, Status.FAILED, f"the pool is {pool.health}{named}", look)
    if pool.errors:
        where = f", in {_some(pool.damaged)}" if pool.damaged else ""
        yield Finding(pool.name, Status.DAMAGED, counted(pool.errors, "data error") + where, look)
    if pool.repaired:
        message = f"the last scrub repaired {size(pool.repaired)}: a disk may be failing"
        yield Finding(pool.name, Status.WARNING, message, look)
    if pool.device_errors:
        failed = counted(pool.device_errors, "read, write or checksum error")
        message = f"one device shows {failed}{named}: a disk may be failing"
        clear = command("zpool", "clear", pool.name)
        repaired = remedy(
            look, clear, first="see which device, replace or reconnect it, then clear the count:"
        )
        yield Finding(pool.name, Status.WARNING, message, repaired)


def start_scrub(pool: str) -> str:
    """The command that reads all of a pool again."""
    return command("zpool", "scrub", pool)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _TOLD
    return ", ".join(names[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")


def _scrub(pool: Pool, max_age: int, now: datetime) -> Finding:
    start = start_scrub(pool.name)
    if pool.scrub is Scrub.RUNNING:
        return Finding(pool.name, Status.OK, f"scrub running, {pool.done:.0%} done")
    if pool.scrub is Scrub.NEVER:
        return Finding(pool.name, Status.FAILED, "never scrubbed", start)
    if pool.scrub in _FORGOTTEN:
        return _forgotten(pool, max_age, now)
    if pool.finished is None:
        return Finding(pool.name, Status.WARNING, "the last scrub ended at an unknown time", start)
    return _finished(pool, pool.finished, max_age, now)


def _forgotten(pool: Pool, max_age: int, now: datetime) -> Finding:
    """ZFS knows of the last scan only. When all data was last read is not known, but not since then."""
    message, start = _FORGOTTEN[pool.scrub], start_scrub(pool.name)
    if pool.finished is None:
        return Finding(pool.name, Status.WARNING, message, start)
    age = (now - pool.finished).total_seconds()
    if age < -SKEW:
        return _from_the_future(pool.name, f"{message} at {moment(pool.finished)}")
    message += f" {duration(max(age, 0))} ago"
    if age > max_age:
        return Finding(pool.name, Status.FAILED, f"{message} and no scrub followed", start)
    return Finding(pool.name, Status.WARNING, message, start)


def _finished(pool: Pool, finished: datetime, max_age: int, now: datetime) -> Finding:
    age = (now - finished).total_seconds()
    if age < -SKEW:
        return _from_the_future(pool.name, f"the last scrub ended at {moment(finished)}")
    if age > max_age:
        message = f"scrub overdue: the last ended {duration(age)} ago, the limit is {duration(max_age)}"
        return Finding(pool.name, Status.FAILED, message, start_scrub(pool.name))
    return Finding(pool.name, Status.OK, f"scrubbed {duration(max(age, 0))} ago")


def _host(
    host: str, last_good: datetime | None, first: datetime | None, max_age: int, now: datetime
) -> Finding:
    if last_good is None:
        if at := due(first, max_age, now):
            return Finding(host, Status.PENDING, f"not backed up yet; due by {moment(at)}")
        return Finding(host, Status.FAILED, "never backed up", command("zborg", "backup", host))
    age = (now - last_good).total_seconds()
    if age < -SKEW:
        return _from_the_future(host, f"the last good backup is of {moment(last_good)}")
    if age > max_age:
        message = (
            f"backup overdue: the last good one is {duration(age)} old, the limit is {duration(max_age)}"
        )
        return Finding(host, Status.FAILED, message, command("zborg", "backup", host))
    return Finding(host, Status.OK, f"last good backup {duration(max(age, 0))} ago")


def _from_the_future(subject: str, what: str) -> Finding:
    """Its age is not known, so it cannot be called good."""
    message = f"{what}, which is still to come: the clock was or is wrong"
    return Finding(subject, Status.FAILED, message, "date -u")
