"""All run files at one moment, for who asks many questions of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import takewhile

from zborg.errors import ZborgError
from zborg.model import Outcome
from zborg.state.recorded.rows import Rows, Seen
from zborg.state.runs import LONGEST, Runs, ended, read_report, run_of, stamp_of

Dated = tuple[datetime, Outcome]
"""When the work on a host ended, and what became of it."""


class Moment(Runs):
    """Run files as they are now: the directory is read once. Of hosts' outcomes only those files are opened
    that the history does not have as they are; without a history, or with one that cannot be read, all that a
    question needs. The answers are the same."""

    def __init__(self, runs: Runs) -> None:
        super().__init__(runs._directory, history=runs._history)
        self._waiting = dict(runs._waiting)
        self._listed = self._entries()
        self._load = lru_cache(maxsize=128)(read_report)  # several questions read the same files
        self._now = super()._latest()
        self._known: dict[str, _Past] = {}
        self._asked: dict[tuple[str, ...], Mapping[str, Sequence[Dated]]] = {}

    def _latest(self) -> str:
        return self._now

    def hosts_since(self, command: str, since: datetime) -> dict[str, list[Dated]]:
        """Each host's outcomes of one command that ended after `since`, the last that ended first."""
        try:
            seen = self._past(command).since(since)
        except ZborgError:  # the files have all that is in it
            self._forget()
            seen = self._past(command).since(since)
        found: dict[str, list[Dated]] = {}
        for one in sorted(sorted(seen, key=lambda one: one.place), key=lambda one: one.ended, reverse=True):
            found.setdefault(one.outcome.subject, []).append((one.ended, one.outcome))
        return found

    def hosts_to_good(self, command: str, hosts: Collection[str]) -> Mapping[str, Sequence[Dated]]:
        """Each host's outcomes of one command, those of the newest run first, down to its first good one."""
        key = (command, *hosts)
        if key not in self._asked:
            try:
                self._asked[key] = self._past(command).to_good(hosts, self._now)
            except ZborgError:
                self._forget()
                self._asked[key] = self._past(command).to_good(hosts, self._now)
        return self._asked[key]

    def _forget(self) -> None:
        self._history = None
        self._known.clear()

    def _past(self, command: str) -> _Past:
        if command not in self._known:
            unwritten = self._unwritten(command)
            written = (run for run in map(run_of, self._by_age(command)) if run not in unwritten)
            positions = {run: position for position, run in enumerate([*reversed(unwritten), *written])}
            files = {
                run: file
                for (run, _), file in self.identities(command).items()
                if run in positions and run not in unwritten
            }
            rows = Rows.of(self._history, command, files, positions) if self._history else None
            self._known[command] = _Past(positions, rows, partial(self._seen, command))
        return self._known[command]

    def _seen(self, command: str, run: str, position: int) -> Iterator[Seen]:
        """What one file has, or the report that waits for room."""
        path = self._directory / f"{run}.{command}.json"
        report = self._waiting.get((run, command)) or self._load(path)
        if report is not None:
            hosts = ((nth, one) for nth, one in enumerate(report.outcomes) if one.kind == "host")
            yield from (Seen(position, nth, ended(report, one), one) for nth, one in hosts)


class _Past:
    """Hosts' outcomes in the runs of one command, of the rows that are good for it and of the other files."""

    def __init__(
        self,
        positions: Mapping[str, int],
        rows: Rows | None,
        read: Callable[[str, int], Iterator[Seen]],
    ) -> None:
        self._positions, self._rows, self._read = positions, rows, read
        recorded = rows.servers if rows else {}
        self._unread = deque(one for one in positions.items() if one[0] not in recorded)
        self._by_host: dict[str, list[Seen]] = {}  # of the files that were read, the newest first

    def since(self, at: datetime) -> list[Seen]:
        """All that ended later, in no order. A run is not looked at that began too long before."""
        oldest = f"{(at - LONGEST).astimezone(UTC):%Y%m%dT%H%M%SZ}"
        runs = takewhile(lambda run: stamp_of(run) >= oldest, self._positions)
        end = sum(1 for _ in runs)
        recorded = self._rows.servers if self._rows else {}
        files = [one for one in self._positions.items() if one[1] < end and one[0] not in recorded]
        found = self._rows.since(at) if self._rows else []
        found += (seen for run, position in files for seen in self._read(run, position) if seen.ended > at)
        return [seen for seen in found if seen.position < end]

    def to_good(self, hosts: Collection[str], latest: str) -> dict[str, list[Dated]]:
        """See Moment.hosts_to_good()."""
        if self._rows is None:
            return {host: list(_to_good(self._merged(iter(()), host))) for host in hosts}
        with self._rows.history.reading() as database:
            return {
                host: list(
                    _to_good(
                        self._merged(
                            self._rows.of_host(database, host, latest) if database else iter(()), host
                        )
                    )
                )
                for host in hosts
            }

    def _merged(self, rows: Iterator[Seen], host: str) -> Iterator[Seen]:
        """What the files have of a host, in its place among the rows."""
        after = -1
        for row in rows:
            yield from self._of_files(host, after, row.position)
            yield row
            after = row.position
        yield from self._of_files(host, after, len(self._positions))

    def _of_files(self, host: str, after: int, before: int) -> Iterator[Seen]:
        seen = self._by_host.setdefault(host, [])
        at = 0
        while True:
            for one in seen[at:]:
                if after < one.position < before:
                    yield one
            at = len(seen)
            if not self._unread or self._unread[0][1] >= before:
                return
            for one in self._read(*self._unread.popleft()):
                self._by_host.setdefault(one.outcome.subject, []).append(one)


def _to_good(seen: Iterator[Seen]) -> Iterator[Dated]:
    for one in seen:
        yield one.ended, one.outcome
        if one.outcome.status.good:
            return
