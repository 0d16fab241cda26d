"""Writing the history beside the run files. What is wrong with it is a warning, never an outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from zborg.errors import ZborgError
from zborg.model import Report
from zborg.model.text.units import counted
from zborg.state.history import Corrupt, History
from zborg.state.runs import Runs

_REST = 60.0  # seconds without a try after one that failed: a fleet of 200 must not wait for a lock 200 times


class Recorder:
    """Records every report that is saved, and before the first one what the history has missed.

    A run whose file is not the one that its record was made of was not recorded: the history was locked, full
    or lost then, or zborg was killed between the two. A history that is empty gets `snapshots` as well: what
    ZFS knows of earlier nights; that may raise ZborgError.
    """

    def __init__(
        self,
        history: History,
        runs: Path,
        snapshots: Callable[[], Iterable[Report]],
        warn: Callable[[str], None],
    ) -> None:
        self._history, self._runs = history, Runs(runs)
        self._snapshots, self._warn = snapshots, warn
        self._caught_up = False
        self._resting_until = 0.0

    def __call__(self, report: Report, file: str = "") -> None:
        """Record one report, and the identity of its file ("": it was not written). Raises nothing: what goes
        wrong is a warning, and the next is left alone for a while."""
        if time.monotonic() < self._resting_until:
            return
        try:
            self._record(report, file)
        except Exception as error:  # a bug here must not end a backup either
            self._resting_until = time.monotonic() + _REST
            words = error.message if isinstance(error, ZborgError) else f"{type(error).__name__}: {error}"
            self._warn(f"not recorded, a later run does it: {words}")

    def rebuild(self) -> int:
        """All that the run files and the snapshots have, once more; how many. Raises as History."""
        try:
            self._history.check()
        except Corrupt as error:
            self._set_aside(error)
        files = self._runs.identities()
        return self._history.record_all(self._saved(files), self._told_by_snapshots(), files)

    def _record(self, report: Report, file: str) -> None:
        try:
            self._catch_up(report)
            self._history.record(report, file)
        except Corrupt as error:
            self._set_aside(error)
            self._catch_up(report)
            self._history.record(report, file)

    def _set_aside(self, error: Corrupt) -> None:
        self._caught_up = False
        if aside := self._history.set_aside(datetime.now(UTC)):
            self._warn(f"{error.message}; it is now {aside.name}, and a new history is made")

    def _catch_up(self, but: Report) -> None:
        """Once in a process."""
        if self._caught_up:
            return
        recorded = self._history.recorded()
        reports = [] if recorded else self._told_by_snapshots()
        files = self._runs.identities()  # before they are read: one that is replaced meanwhile is read again
        own = (but.run, but.command)
        missed = [key for key, file in files.items() if file != recorded.get(key) and key != own]
        number = self._history.record_all(list(self._saved(missed)), reports, files)
        if number and not recorded:
            self._warn(f"made anew: {counted(number, 'run')} came from the run files and the snapshots")
        self._caught_up = True

    def _saved(self, keys: Iterable[tuple[str, str]]) -> Iterator[Report]:
        return (report for key in sorted(keys) if (report := self._runs.read(*key)))

    def _told_by_snapshots(self) -> list[Report]:
        try:
            return list(self._snapshots())
        except ZborgError as error:
            self._warn(f"the snapshots could not be asked: {error.message}; later: zborg history --rebuild")
            return []
