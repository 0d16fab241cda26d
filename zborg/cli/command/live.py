"""Events as they come: a live screen on a terminal, plain lines in a pipe or cron."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from zborg.cli.command.counts import describe
from zborg.cli.command.tally import Tally
from zborg.model import Emit, Event
from zborg.model.events import Finished, Paced, Progress, Started, Warned
from zborg.model.text.units import printable

_PLAIN_EVERY = 60.0  # seconds between two progress lines of a subject in a log, and between two of all
_ALL = ""  # the subject of the line about all; no host has it


class Way(Enum):
    """How much of what happens is shown while it happens."""

    USUAL = "usual"
    QUIET = "quiet"  # warnings only, see Quiet
    SILENT = "silent"


@contextmanager
def listener(way: Way, *, verbose: bool) -> Iterator[Emit]:
    """A handler for events; all of it goes to stderr, stdout belongs to the report."""
    if way is Way.SILENT:
        yield lambda _: None
    elif way is Way.QUIET:
        yield Quiet()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from zborg.cli.command.screen import live

        with live() as emit:
            yield emit
    else:
        yield Plain(every=5.0 if verbose else _PLAIN_EVERY, verbose=verbose)


def _print(subject: str, text: str) -> None:
    # A full disk under the log, or a pipe nobody reads, must not cost a host its backup.
    with suppress(OSError, ValueError):
        print(f"{subject}: {printable(text)}", file=sys.stderr, flush=True)


class Quiet:
    """Warnings, and nothing that ends well: those of a subject at work wait for what becomes of it.

    A host that answered at the second try is a good night; a log that cannot be written is none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[str]] = {}

    def __call__(self, event: Event) -> None:
        """Take one event; print a warning now, or with the end of its subject."""
        with self._lock:
            if isinstance(event, Started):
                self._held.setdefault(event.subject, [])
            elif isinstance(event, Warned) and event.subject in self._held:
                self._held[event.subject].append(event.message)
            elif isinstance(event, Warned):
                _print(event.subject, event.message)
            elif isinstance(event, Finished):
                held = self._held.pop(event.subject, [])
                for text in () if event.status and event.status.uneventful else held:
                    _print(event.subject, text)


class Plain:
    """One line when something begins, one now and then while it lasts. Ends are in the report.

    With `verbose` also one when another number of hosts may be at work.
    """

    def __init__(
        self, every: float, clock: Callable[[], float] = time.monotonic, *, verbose: bool = False
    ) -> None:
        self._verbose = verbose
        self._every, self._clock, self._lock = every, clock, threading.Lock()
        self._tally = Tally(clock)
        self._last: dict[str, float] = {_ALL: clock()}

    def __call__(self, event: Event) -> None:
        """Take one event; print its line if it has one and it is time for it."""
        with self._lock:
            self._tally.take(event)
            if isinstance(event, Started):
                self._last[event.subject] = self._clock()
                self._say(event.subject, event.message or "started")
            elif isinstance(event, Warned) or (isinstance(event, Paced) and self._verbose):
                self._say(event.subject, event.message)
            elif isinstance(event, Progress) and self._due(event.subject):
                self._say(event.subject, describe(event))
            if self._tally.planned and self._due(_ALL):
                self._say("all", self._tally.words())

    def _due(self, subject: str) -> bool:
        now = self._clock()
        if now - self._last.get(subject, 0) < self._every:
            return False
        self._last[subject] = now
        return True

    def _say(self, subject: str, words: str) -> None:
        _print(subject, words)
