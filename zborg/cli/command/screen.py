"""The live view: a line for each one at work, as many as fit, and below them a line for all.

Imported on a terminal only. rich draws, and honours NO_COLOR by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from zborg.cli.command.counts import describe
from zborg.cli.command.tally import Tally, Work
from zborg.model import Emit, Event
from zborg.model.events import Warned
from zborg.model.text.units import printable, size, span

_LONGEST_NAME = 20
_NAME_END = 6  # characters: where hosts of one kind differ
_PATH_FROM = 12  # columns; less than that shows nothing of a path


@contextmanager
def live(console: Console | None = None) -> Iterator[Emit]:
    """A handler that keeps the screen up to date as long as the block lasts; then it is cleared."""
    console = console or Console(stderr=True, highlight=False)
    screen = Screen()

    def draw() -> Text:
        rows = screen.rows(console.width, console.height)
        return Text("\n".join(rows), no_wrap=True, overflow="ellipsis")

    def emit(event: Event) -> None:
        screen.take(event)
        if isinstance(event, Warned):
            console.print(f"{event.subject}: {printable(event.message)}", markup=False)

    with Live(
        get_renderable=draw,
        console=console,
        refresh_per_second=2,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield emit


class Screen:
    """The rows of the moment. Events come from many threads, and the drawing from one of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._tally, self._lock = clock, Tally(clock), threading.Lock()

    def take(self, event: Event) -> None:
        """Note one event."""
        with self._lock:
            self._tally.take(event)

    def rows(self, width: int, height: int) -> list[str]:
        """What to draw now: at most `height` rows of at most `width` columns."""
        with self._lock:
            works = list(self._tally.running.values())
            fit = max(1, height - 3)  # a line for the rest, one for all, and one that the cursor needs
            name = min(_LONGEST_NAME, max((len(work.name) for work in works), default=0))
            now = self._clock()
            rows = [_row(work, name, width, now) for work in works[:fit]]
            if len(works) > fit:
                rows.append(f"and {len(works) - fit} more at work")
            return [*rows, self._tally.words()] if self._tally.planned else rows


def _row(work: Work, name_width: int, width: int, now: float) -> str:
    head = f"{_cut(printable(work.name), name_width):<{name_width}}  "
    if work.until > now:
        return f"{head}waits, {span(work.until - now)} more"
    counts = work.progress
    if counts is None or counts.files is None:
        shown = describe(counts) if counts else ""
        return head + (shown or printable(work.words) or f"begins, {span(now - work.since)}")
    head += f"{counts.files:>8} files  {size(work.bytes):>10}  {size(work.rate(now)):>10}/s"
    return head + _tail(printable(counts.path), width - cell_len(head) - 2)


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - _NAME_END - 1]}…{name[-_NAME_END:]}"


def _tail(path: str, room: int) -> str:
    """The end of a path says more than its beginning."""
    if not path or room < _PATH_FROM:
        return ""
    if cell_len(path) <= room:
        return f"  {path}"
    while cell_len(path) > room - 1:
        path = path[max(1, len(path) - room) :] if len(path) > room else path[1:]
    return f"  …{path}"
