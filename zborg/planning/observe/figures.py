"""The history's entries -> what a report shows of days, hosts, pools and targets. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from statistics import median

from zborg.model import Entry, Outcome, Status
from zborg.model.figures import (
    Backups,
    CompactionFigures,
    Day,
    Figures,
    HostFigures,
    LedgerFigures,
    PoolFigures,
    Proof,
    TargetFigures,
)
from zborg.model.results import PoolState, Replicated, SnapshotTaken, backup_of
from zborg.model.subjects import OnTarget, below, is_of
from zborg.planning.observe.forecast import forecast
from zborg.planning.observe.nights import Night, nights, trend

DAILY = 100  # days; of more each point is a week, or the points could not be distinguished
_WEEK = 7
_RESTORES = ("restore files", "restore repo", "restore serve")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the history has of these days, by the kind of its outcomes, the newest last; and who is known.

    `zone` None: this machine's.
    """

    first: date
    last: date
    hosts: Sequence[Entry]
    datasets: Sequence[Entry]
    replicas: Sequence[Entry]
    pools: Sequence[Entry]
    names: Sequence[str] = ()  # of hosts
    root: str = ""  # of the hosts' datasets on the storage
    targets: Mapping[str, str] = field(default_factory=dict)  # by name the dataset below which its copies are
    sealed: frozenset[str] = field(default_factory=frozenset)
    zone: tzinfo | None = None
    verified: Sequence[Entry] = ()  # by verify
    ledger: LedgerFigures | None = None
    compactions: Sequence[CompactionFigures] = ()

    def day(self, at: datetime) -> date:
        """The day of the calendar, in `zone`, to which an instant belongs."""
        return at.astimezone(self.zone).date()


def figures(recorded: Recorded) -> Figures:
    """All that a report shows of these days; of DAILY days and more, a point for each week."""
    step = _WEEK if (recorded.last - recorded.first).days >= DAILY else 1
    return Figures(
        first=recorded.first,
        last=recorded.last,
        step=step,
        calendar=tuple(_calendar(recorded)),
        hosts=tuple(_hosts(recorded, step)),
        pools=tuple(_pools(recorded)),
        ledger=recorded.ledger,
        compactions=recorded.compactions,
        targets=tuple(TargetFigures(name, tuple(_behind(recorded, name))) for name in recorded.targets),
    )


# --- nights -----------------------------------------------------------------------------------------------


def _calendar(recorded: Recorded) -> Iterator[Day]:
    """From the first night on, and the days since the last one too: today only when it had one."""
    last = None
    for night in nights(recorded.hosts, recorded.zone):
        last = night.day
        warned = [name for name in night.good if night.hosts[name].status is Status.WARNING]
        new = night.total(lambda one: one.new_bytes)
        yield Day(night.day, len(night.good), warned, night.bad, new, night.seconds)
    if last is not None:
        missing = range(1, (recorded.last - last).days)
        yield from (Day(last + timedelta(days=n), 0, (), {}, 0, 0.0) for n in missing)


# --- hosts ------------------------------------------------------------------------------------------------


def _hosts(recorded: Recorded, step: int) -> Iterator[HostFigures]:
    by_host: dict[str, list[Entry]] = {name: [] for name in recorded.names}
    for entry in recorded.hosts:
        by_host.setdefault(entry.outcome.subject, []).append(entry)
    proofs = _Proofs(recorded)
    for name, entries in by_host.items():
        rows = tuple(_rows(nights(entries, recorded.zone), recorded, step))
        yield HostFigures(name, rows, trend(entries), proofs.of(name))


def _rows(some: Iterable[Night], recorded: Recorded, step: int) -> Iterator[Backups]:
    """A row for each day, or for each whole week that ends so many weeks before `last`."""
    parts: dict[date, list[Night]] = defaultdict(list)
    for night in some:
        ago = (recorded.last - night.day).days // step
        parts[recorded.last - timedelta(days=ago * step + step - 1)].append(night)
    for day, part in sorted(parts.items()):
        if day >= recorded.first:
            yield _row(day, part)


def _row(day: date, part: Sequence[Night]) -> Backups:
    outcomes = [one for night in part for one in night.hosts.values()]
    good = [one for one in outcomes if one.status.good]
    backups = [backup_of(one.result) for one in good]
    sizes = [one.original_bytes for one in backups if one.original_bytes is not None]
    new = [one.new_bytes for one in backups if one.new_bytes is not None]
    took = [one.seconds for one in backups if one.seconds is not None]
    return Backups(
        day=day,
        good=len(good),
        of=len(outcomes),
        original_bytes=sizes[-1] if sizes else None,
        new_bytes=sum(new) if new else None,
        seconds=float(median(took)) if took else None,
    )


# --- proof ------------------------------------------------------------------------------------------------


class _Proofs:
    """When each of the things last went well, by host."""

    def __init__(self, recorded: Recorded) -> None:
        self._told = recorded
        good = [one for one in recorded.hosts if one.outcome.status.good]
        self._backups = _newest((one.outcome.subject, one) for one in good if one.command == "backup")
        self._restores = _newest((one.outcome.subject, one) for one in good if one.command in _RESTORES)
        marked = [one for one in recorded.datasets if one.command == "snapshot" and _is_good(one.outcome)]
        self._snapshots = _newest((below(recorded.root, one.outcome.subject), one) for one in marked)
        sent = [
            (OnTarget.parse(one.outcome.subject), one)
            for one in recorded.replicas
            if _has_arrived(one.outcome)
        ]
        whole = [one for one in recorded.verified if one.outcome.status.good]
        self._verified = _newest((one.outcome.subject, one) for one in whole)
        self._copies = {
            name: _newest((below(root, copy.name), one) for copy, one in sent if copy.target == name)
            for name, root in recorded.targets.items()
        }

    def of(self, host: str) -> Proof:
        return Proof(
            backup=self._backups.get(host),
            snapshot=self._snapshots.get(host),
            copies={name: copies.get(host) for name, copies in self._copies.items()},
            restore=self._restores.get(host),
            sealed=host in self._told.sealed,
            verified=self._verified.get(host),
        )


def _newest(some: Iterable[tuple[str, Entry]]) -> Mapping[str, datetime]:
    return {name: entry.ended for name, entry in some}


def _is_good(snapshot: Outcome) -> bool:
    return isinstance(snapshot.result, SnapshotTaken) and snapshot.result.state == "ok"


def _has_arrived(outcome: Outcome) -> bool:
    """Also when there was nothing to send."""
    return outcome.status.good and isinstance(outcome.result, Replicated)


# --- targets ----------------------------------------------------------------------------------------------


def _behind(recorded: Recorded, target: str) -> Iterator[tuple[date, int]]:
    """0 on a day on which all arrived. Of the datasets of the newest run; one that never arrived waits
    since it was first tried."""
    mine = [one for one in recorded.replicas if is_of(target, one.outcome.subject) and _is_tried(one.outcome)]
    if not mine:
        return
    wanted = {one.outcome.subject for one in mine if one.run == mine[-1].run}
    arrived, tried = _days_of(recorded, mine)
    waits: dict[str, date] = {}
    for day in _days(recorded, mine):
        for name in tried[day] & wanted:
            waits.setdefault(name, day)
        waits |= dict.fromkeys(arrived[day] & wanted, day)
        yield day, max(((day - since).days for since in waits.values()), default=0)


def _is_tried(outcome: Outcome) -> bool:
    """Neither a copy whose source is gone, nor a dataset without a snapshot."""
    return _has_arrived(outcome) or outcome.status.bad


def _days_of(recorded: Recorded, mine: Iterable[Entry]) -> tuple[dict[date, set[str]], dict[date, set[str]]]:
    """By day what arrived, and what was tried."""
    arrived: dict[date, set[str]] = defaultdict(set)
    tried: dict[date, set[str]] = defaultdict(set)
    for entry in mine:
        day = recorded.day(entry.started)
        tried[day].add(entry.outcome.subject)
        if _has_arrived(entry.outcome):
            arrived[day].add(entry.outcome.subject)
    return arrived, tried


def _days(recorded: Recorded, mine: Sequence[Entry]) -> Iterator[date]:
    """From the first to the last try, and on to yesterday: today's may be still to come."""
    first, last = recorded.day(mine[0].started), recorded.day(mine[-1].started)
    last = max(last, recorded.last - timedelta(days=1))
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


# --- pools ------------------------------------------------------------------------------------------------


def _pools(recorded: Recorded) -> Iterator[PoolFigures]:
    by_pool: dict[str, list[tuple[Entry, PoolState]]] = defaultdict(list)
    for entry in recorded.pools:
        seen = entry.outcome.result
        if entry.command == "scrub" and isinstance(seen, PoolState) and seen.size:
            by_pool[entry.outcome.subject].append((entry, seen))
    for name, entries in by_pool.items():
        used = {recorded.day(entry.ended): pool.size - pool.free for entry, pool in entries}
        last, pool = entries[-1]
        points = tuple(sorted(used.items()))
        ahead = max((recorded.last - recorded.first).days // 3, _WEEK)
        yield PoolFigures(name, points, pool.size, last.outcome, forecast(points, pool.size, ahead))
