"""Events as they come: a live line per subject on a terminal, plain lines in a pipe or cron."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from zborg.model import Emit, Event
from zborg.model.words import printable, size, span

_PLAIN_EVERY = 60.0  # seconds between two progress lines of a subject in a log


@contextmanager
def listener(*, quiet: bool, verbose: bool) -> Iterator[Emit]:
    """A handler for events; all of it goes to stderr, stdout belongs to the report."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _live() as emit:
            yield emit
    else:
        yield Plain(every=5.0 if verbose else _PLAIN_EVERY)


class Plain:
    """One line when something begins, one now and then while it lasts. Ends are in the report."""

    def __init__(self, every: float) -> None:
        self._every, self._lock = every, threading.Lock()
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind == "started":
                self._last[event.subject] = time.monotonic()
                self._say(event, "started")
            elif event.kind == "warning":
                self._say(event, event.message)
            elif event.kind == "progress" and self._due(event.subject):
                self._say(event, describe(event))

    def _due(self, subject: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(subject, 0) < self._every:
            return False
        self._last[subject] = now
        return True

    def _say(self, event: Event, words: str) -> None:
        # A full disk under the log, or a pipe nobody reads, must not cost a host its backup.
        with suppress(OSError, ValueError):
            print(f"{event.subject}: {printable(words)}", file=sys.stderr, flush=True)


def describe(event: Event) -> str:
    """The counts of a progress event in words."""
    data = event.data
    words = [f"{data['files']} files"] if "files" in data else []
    if "total" in data:
        words.append(f"{size(data.get('bytes', 0))} of {size(data['total'])}")
    elif "bytes" in data:
        words.append(size(data["bytes"]))
    if "rate" in data:
        words.append(f"{size(data['rate'])}/s")
    if "remaining" in data:
        words.append(f"{span(data['remaining'])} left")
    if "percent" in data:
        words.append(f"{data['percent']:.0f} %")
    return ", ".join(words)


@contextmanager
def _live() -> Iterator[Emit]:
    """rich draws only here, and is imported only on a terminal. It honours NO_COLOR by itself."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.fields[name]}"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def emit(event: Event) -> None:
            if event.subject not in tasks:
                tasks[event.subject] = progress.add_task("", total=None, name=event.subject)
            if event.kind == "finished":
                progress.remove_task(tasks.pop(event.subject))
            elif event.kind == "warning":
                console.print(f"{event.subject}: {printable(event.message)}", markup=False)
            else:
                progress.update(tasks[event.subject], description=describe(event))

        yield emit
