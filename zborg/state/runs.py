"""Run files: what each step leaves for the next one and for `status`.

`runs/RUN.COMMAND.json`, one Report each. RUN begins with the UTC instant, so names sort by time
and the newest of a command is found without opening the others.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from zborg import atomic
from zborg.model import Outcome, Report
from zborg.model.results import backup_of
from zborg.model.serial.report import from_dict, to_dict

_KEEP = 10_000  # files of a command; a month of backups of 300 hosts that have a cron line each
_STAMP = len("20260212T144933Z")
_TORN = 86400.0  # seconds after which a half-written file has no writer any more
_LONGEST = timedelta(days=7)  # no run takes longer: a host's time is limited, and hosts run side by side

_SKEW = timedelta(minutes=5)  # by which a run may seem to be of later than now


def new_run(now: datetime) -> str:
    """20260212T144933Z-4f3a."""
    return f"{now:%Y%m%dT%H%M%SZ}-{os.urandom(2).hex()}"


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Why the record of a run could not be saved: where it was to go, and what the system answered."""

    directory: Path
    reason: str


class Runs:
    """The run files below one directory. What is saved here goes on to `also`: the history.

    Where a file cannot be written (the disk is full, or read-only by now) its report stays in memory: the
    steps that follow in this process need it, and the work goes on. `unsaved` says so, and `warn` once.
    """

    def __init__(
        self,
        directory: Path,
        also: Callable[[Report], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._directory, self._also, self._warn = directory, also, warn
        self._listed: Sequence[str] | None = None
        self._load: Callable[[Path], Report | None] = _read
        self._waiting: dict[tuple[str, str], Report] = {}
        self._saving = threading.Lock()
        self.unsaved: Unsaved | None = None

    def as_now(self) -> Runs:
        """The same for who asks for many commands at one moment: the directory is read once, 3 ms a year."""
        seen = Runs(self._directory)
        seen._listed, seen._waiting = self._names(), self._waiting
        seen._load = lru_cache(maxsize=128)(_read)  # several questions read the same files
        return seen

    def _names(self) -> Sequence[str]:
        if self._listed is not None:
            return self._listed
        with os.scandir(self._directory) as entries:  # a glob makes a Path of each
            return [entry.name for entry in entries]

    def save(self, report: Report) -> None:
        """Replace the file whole and on disk: a killed zborg leaves the old report or the new one.

        The one place through which every report of every step goes. That it cannot be written raises nothing.
        """
        with self._saving:  # hosts that outlast a night are saved beside the steps that follow
            self._save(report)
        if self._also:
            self._also(report)

    def _save(self, report: Report) -> None:
        self._waiting[report.run, report.command] = report
        try:
            for key, one in list(self._waiting.items()):  # with those that found no room before
                # In one piece: json.dump() is slow, and a fleet's report is saved with each host's end.
                atomic.write(self._directory / f"{one.run}.{one.command}.json", json.dumps(to_dict(one)))
                del self._waiting[key]
            self.unsaved = None
        except OSError as error:
            if self._warn and not self.unsaved:
                self._warn(f"{self._directory} cannot be written: {error.strerror}; this run is not recorded")
            self.unsaved = Unsaved(self._directory, error.strerror or str(error))

    def changed(self) -> dict[tuple[str, str], float]:
        """By (run, command) when the file was written, in seconds since 1970."""
        found = {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                run, dot, rest = entry.name.partition(".")
                command = rest.removesuffix(".json")
                with suppress(FileNotFoundError):  # pruned in between
                    if dot and command != rest:
                        found[run, command] = entry.stat().st_mtime
        return found

    def since(self) -> datetime | None:
        """When the oldest run that is still here began: since then this server is in use, at least."""
        stamps = (_stamp(name) for name in self._names() if name.endswith(".json"))
        return _instant(min(stamps, default=""))

    def read(self, run: str, command: str) -> Report | None:
        """None for a file that is not there or cannot be read."""
        return _read(self._directory / f"{run}.{command}.json")

    def newest_first(self, command: str) -> Iterator[Report]:
        """Reports of one command. A file that cannot be read is passed over: history never stops a backup."""
        waiting = {run: one for (run, name), one in self._waiting.items() if name == command}
        yield from reversed(waiting.values())
        names = [name for name in self._names() if name.endswith(f".{command}.json")]
        for path in _by_age(self._directory, names):
            if path.name.partition(".")[0] not in waiting and (report := self._load(path)):
                yield report

    def newest(self, command: str) -> Report | None:
        """The newest report of one command; None when there is none that can be read."""
        return next(self.newest_first(command), None)

    def outcomes_since(self, command: str, since: datetime | None) -> dict[str, list[Outcome]]:
        """Each subject's outcomes of one command that came after `since`, the last that ended first.

        A long run may end after a later short one: order of start is not order of end, so the search
        goes back behind the first run that is too old.
        """
        found: dict[str, list[tuple[datetime, Outcome]]] = {}
        for report in self.newest_first(command):
            if since and report.started < since - _LONGEST:
                break
            for outcome in report.outcomes:
                at = ended(report, outcome)
                if since is None or at > since:
                    found.setdefault(outcome.subject, []).append((at, outcome))
        return {name: _last_ended_first(some) for name, some in found.items()}

    def _by_command(self) -> dict[str, list[Path]]:
        """All run files: one command that is run every minute must not push out those of the others."""
        found: dict[str, list[Path]] = {}
        for path in self._directory.glob("*.*.json"):
            found.setdefault(path.name.split(".")[1], []).append(path)
        return found

    def prune(self) -> None:
        """Drop each command's oldest files; ZFS is the database of snapshots, these are hand-over notes."""
        old = [path for paths in self._by_command().values() for path in sorted(paths, reverse=True)[_KEEP:]]
        torn = [path for path in self._directory.glob("*.new") if time.time() - _changed(path) > _TORN]
        try:
            for path in (*old, *torn):
                path.unlink(missing_ok=True)
        except OSError as error:  # a read-only disk: nothing depends on it
            if self._warn:
                self._warn(f"{self._directory} cannot be pruned: {error.strerror}")


def _read(path: Path) -> Report | None:
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_ended_first(dated: list[tuple[datetime, Outcome]]) -> list[Outcome]:
    return [outcome for _, outcome in sorted(dated, key=itemgetter(0), reverse=True)]


def ended(report: Report, outcome: Outcome) -> datetime:
    """When the work on this subject ended: the hosts of a long run end hours apart."""
    return backup_of(outcome.result).finished or report.finished


def _by_age(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    """Newest first. Runs of one second have random ends of their names: the file shows which was later.

    Last are those of a clock that was ahead: once it is right again, what came after them counts.
    """
    latest = f"{datetime.now(UTC) + _SKEW:%Y%m%dT%H%M%SZ}"

    def age(name: str) -> tuple[bool, str]:
        return _stamp(name) <= latest, _stamp(name)

    for _, together in groupby(sorted(names, key=age, reverse=True), key=_stamp):
        yield from sorted((directory / name for name in together), key=_changed, reverse=True)


def _instant(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None


def _stamp(name: str) -> str:
    return name[:_STAMP]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # pruned in between
