"""The log: one line for each event, with its run's id, in a file (log_file.py) or in systemd's journal.

It is written beside what a person sees. A log that cannot be written is a warning, once, and costs no backup.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zborg.model import Emit, Event, Outcome, Report, Status
from zborg.model.events import Failed, Finished, Paced, Progress, Reported, Started, StepBegun, Warned
from zborg.model.text.units import moment, printable

if TYPE_CHECKING:
    from logging import Handler

_LONGEST = 4000  # characters of a line: it may be another machine's word
_ERROR, _WARNING, _INFO, _DEBUG = 3, 4, 6, 7  # syslog's priorities


class Sink(Protocol):
    """Where lines go. May raise OSError."""

    def write(self, at: datetime, run: str, priority: int, words: str) -> None:
        """One line; `priority` as syslog has it. Raises OSError."""


class FileSink:
    """A file for its owner alone, opened with the first line.

    A large one is rotated then and never amid a run: what one run writes stays as it is until its end.
    """

    def __init__(self, path: Path, shown: Emit) -> None:
        self._path, self._shown = path, shown
        self._handler: Handler | None = None

    def write(self, at: datetime, run: str, priority: int, words: str) -> None:
        """As Sink: the file is opened, and rotated if it is due, with the first line."""
        import logging

        if self._handler is None:
            self._handler = self._opened()
        self._handler.handle(logging.makeLogRecord({"msg": f"{moment(at)} {run} {words}"}))

    def _opened(self) -> Handler:
        from zborg.state.log_file import LogFile, rotate

        try:
            rotate(self._path)
        except OSError as error:  # a file that grows is better than lines that are lost
            self._shown(Warned("log", f"{self._path} was not rotated: {error.strerror or error}"))
        return LogFile(self._path)


class JournalSink:
    """systemd's journal, by its socket (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of KEY=value lines.

    Each line has ZBORG_RUN, so `journalctl -t zborg ZBORG_RUN=...` finds those of a run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def write(self, at: datetime, run: str, priority: int, words: str) -> None:
        """As Sink, in journald's native protocol."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(5)
        fields = {"SYSLOG_IDENTIFIER": "zborg", "PRIORITY": str(priority), "ZBORG_RUN": run, "MESSAGE": words}
        text = "".join(f"{key}={value}\n" for key, value in fields.items())
        self._socket.sendto(text.encode("utf-8", "replace"), str(self._path))


class Log:
    """Takes every event, and hands each on. Safe for threads as its sinks are."""

    def __init__(self, sink: Sink, shown: Emit) -> None:
        self._sink, self._shown = sink, shown
        self._run = "-"
        self._runs: dict[str, str] = {}  # of subjects at work: hosts may go on behind the steps that follow
        self._failed = False

    def __call__(self, event: Event) -> None:
        """Write what the event says, and hand it on to what shows it."""
        if isinstance(event, Reported):
            if event.report:
                self._report(event.report)
            return
        self._shown(event)
        if isinstance(event, StepBegun):  # steps come one after the other, so what follows is of this run
            self._run = event.run
            self._write(_INFO, f"{event.subject} begun")
        elif not isinstance(event, Progress):  # many a second, and nothing that anybody looks up
            words = f": {event.message}" if event.message else ""
            self._write(_urgency(event), f"{event.subject} {event.kind}{words}", self._run_of(event))

    def _run_of(self, event: Event) -> str:
        if isinstance(event, Started):
            self._runs[event.subject] = self._run
        known = self._runs.get(event.subject, self._run)
        if isinstance(event, Finished):
            self._runs.pop(event.subject, None)
        return known

    def _report(self, report: Report) -> None:
        """What became of each subject, and of the whole."""
        self._run = report.run
        for outcome in report.outcomes:
            self._write(_priority(outcome.status), _words(outcome))
        end = f"{report.command} {report.status.value}, exit {int(report.exit)}"
        self._write(_priority(report.status), end)

    def _write(self, priority: int, words: str, run: str = "") -> None:
        if self._failed:
            return
        try:
            run, words = printable(run or self._run), printable(words)[:_LONGEST]
            self._sink.write(datetime.now(UTC), run, priority, words)
        except OSError as error:
            self._failed = True
            words = f"cannot be written, and nothing more is: {error.strerror or error}"
            self._shown(Warned("log", words))


def _urgency(event: Event) -> int:
    if isinstance(event, Paced) and event.parallel:  # one of many: their sum comes in the end
        return _DEBUG
    return _ERROR if isinstance(event, Failed) else _WARNING if isinstance(event, Warned) else _INFO


def _priority(status: Status) -> int:
    return _ERROR if status.bad else _INFO if status in (Status.OK, Status.SKIPPED) else _WARNING


def _words(outcome: Outcome) -> str:
    step = f" {outcome.result.step}" if outcome.result.step else ""
    parts = "; ".join(text for text in (outcome.message, outcome.remedy and f"-> {outcome.remedy}") if text)
    return f"{outcome.subject}{step} {outcome.status.value}" + (f": {parts}" if parts else "")
