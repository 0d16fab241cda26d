"""Run files: what each step leaves for the next one and for `status`.

`runs/RUN.COMMAND.json`, one Report each. RUN begins with the UTC instant, so names sort by time
and the newest of a command is found without opening the others.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from zborg import atomic
from zborg.model import Outcome, Report
from zborg.model.results import backup_of
from zborg.model.serial.report import from_dict, to_dict

if TYPE_CHECKING:
    from zborg.state.history import History

_KEEP = 10_000  # files of a command; a month of backups of 300 hosts that have a cron line each
_STAMP = len("20260212T144933Z")
_TORN = 86400.0  # seconds after which a half-written file has no writer any more
LONGEST = timedelta(days=7)  # no run takes longer: a host's time is limited, and hosts run side by side

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
    """The run files below one directory. What is saved here goes on to `also`, with the identity of its file
    ("" where it could not be written): `history`, which a Moment asks in place of thousands of files.

    Where a file cannot be written (the disk is full, or read-only by now) its report stays in memory: the
    steps that follow in this process need it, and the work goes on. `unsaved` says so, and `warn` once.
    """

    def __init__(
        self,
        directory: Path,
        also: Callable[[Report, str], None] | None = None,
        warn: Callable[[str], None] | None = None,
        history: History | None = None,
    ) -> None:
        self._directory, self._also, self._warn, self._history = directory, also, warn, history
        self._listed: Sequence[os.DirEntry[str]] | None = None
        self._load: Callable[[Path], Report | None] = read_report
        self._waiting: dict[tuple[str, str], Report] = {}
        self._saving = threading.Lock()
        self.unsaved: Unsaved | None = None

    def _entries(self) -> Sequence[os.DirEntry[str]]:
        if self._listed is not None:
            return self._listed
        with os.scandir(self._directory) as entries:  # a glob makes a Path of each
            return list(entries)

    def save(self, report: Report) -> None:
        """Replace the file whole and on disk: a killed zborg leaves the old report or the new one.

        The one place through which every report of every step goes. That it cannot be written raises nothing.
        """
        with self._saving:  # hosts that outlast a night are saved beside the steps that follow
            file = self._save(report)
            if self._also:
                self._also(report, file)

    def _save(self, report: Report) -> str:
        """The identity of its file."""
        self._waiting[report.run, report.command] = report
        try:
            for key, one in list(self._waiting.items()):  # with those that found no room before
                # In one piece: json.dump() is slow, and a fleet's report is saved with each host's end.
                path = self._directory / f"{one.run}.{one.command}.json"
                atomic.write(path, json.dumps(to_dict(one)))
                del self._waiting[key]
            self.unsaved = None
            return identity((self._directory / f"{report.run}.{report.command}.json").stat())
        except OSError as error:
            if self._warn and not self.unsaved:
                self._warn(f"{self._directory} cannot be written: {error.strerror}; this run is not recorded")
            self.unsaved = Unsaved(self._directory, error.strerror or str(error))
            return ""

    def changed(self) -> dict[tuple[str, str], float]:
        """By (run, command) when the file was written, in seconds since 1970."""
        return {key: facts.st_mtime for key, facts in self._stats()}

    def identities(self, command: str = "") -> dict[tuple[str, str], str]:
        """By (run, command) the identity of the file, of one command or of all."""
        return {key: identity(facts) for key, facts in self._stats(command)}

    def _stats(self, command: str = "") -> Iterator[tuple[tuple[str, str], os.stat_result]]:
        for entry in self._entries():
            run, dot, rest = entry.name.partition(".")
            found = rest.removesuffix(".json")
            if dot and found != rest and (not command or found == command):
                with suppress(FileNotFoundError):  # pruned in between
                    yield (run, found), entry.stat()

    def since(self) -> datetime | None:
        """When the oldest run that is still here began: since then this server is in use, at least."""
        stamps = (stamp_of(entry.name) for entry in self._entries() if entry.name.endswith(".json"))
        return _instant(min(stamps, default=""))

    def read(self, run: str, command: str) -> Report | None:
        """None for a file that is not there or cannot be read."""
        return read_report(self._directory / f"{run}.{command}.json")

    def newest_first(self, command: str) -> Iterator[Report]:
        """Reports of one command. A file that cannot be read is passed over: history never stops a backup."""
        waiting = self._unwritten(command)
        yield from reversed(waiting.values())
        for entry in self._by_age(command):
            if run_of(entry) not in waiting and (report := self._load(Path(entry.path))):
                yield report

    def _unwritten(self, command: str) -> dict[str, Report]:
        """By run the reports that found no room, the newest last."""
        return {run: one for (run, name), one in self._waiting.items() if name == command}

    def _by_age(self, command: str) -> Iterator[os.DirEntry[str]]:
        """The files of one command, newest first. Runs of one second have random ends of their names: the
        file shows which was later.

        Last are those of a clock that was ahead: once it is right again, what came after them counts.
        """
        latest = self._latest()

        def age(entry: os.DirEntry[str]) -> tuple[bool, str]:
            stamp = stamp_of(entry.name)
            return stamp <= latest, stamp

        mine = [entry for entry in self._entries() if entry.name.endswith(f".{command}.json")]
        for _, group in groupby(sorted(mine, key=age, reverse=True), key=lambda one: stamp_of(one.name)):
            together = list(group)
            yield from together if len(together) == 1 else sorted(together, key=_changed, reverse=True)

    def _latest(self) -> str:
        """The stamp of the last run that may be of now."""
        return f"{datetime.now(UTC) + _SKEW:%Y%m%dT%H%M%SZ}"

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
            if since and report.started < since - LONGEST:
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


def identity(facts: os.stat_result) -> str:
    """What no two versions of a run file share: each is a new file under the old name."""
    return f"{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"


def run_of(entry: os.DirEntry[str]) -> str:
    """The run that a file is of."""
    return entry.name.partition(".")[0]


def read_report(path: Path) -> Report | None:
    """None for a file that is not there or cannot be read."""
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_ended_first(dated: list[tuple[datetime, Outcome]]) -> list[Outcome]:
    return [outcome for _, outcome in sorted(dated, key=itemgetter(0), reverse=True)]


def ended(report: Report, outcome: Outcome) -> datetime:
    """When the work on this subject ended: the hosts of a long run end hours apart."""
    return backup_of(outcome.result).finished or report.finished


def _instant(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None


def stamp_of(name: str) -> str:
    """The instant at the beginning of a run's name; text that sorts by time."""
    return name[:_STAMP]


def _changed(file: Path | os.DirEntry[str]) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0  # pruned in between
