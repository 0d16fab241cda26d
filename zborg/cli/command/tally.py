"""What a run's events come to: who is at work, how far each is, and how long the rest may take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from zborg.model import Event, Status
from zborg.model.events import Finished, Paced, Planned, Progress, Started, Waiting
from zborg.model.text.units import counted, duration, size
from zborg.planning.backup.schedule import guessed, remaining

_WINDOW = 10.0  # seconds over which a rate is taken
_SAMPLE = 0.2  # seconds; of what comes faster the last counts


@dataclass
class Work:
    """One subject that is at work."""

    name: str
    since: float
    progress: Progress | None = None
    words: str = ""  # what it does, where nothing is counted
    until: float = 0.0  # it waits for its connection until then
    _seen: deque[tuple[float, float]] = field(default_factory=deque)

    def note(self, progress: Progress, now: float) -> None:
        """How far it is now."""
        self.progress, self.until = progress, 0.0
        if len(self._seen) > 1 and now - self._seen[-2][0] < _SAMPLE:
            self._seen.pop()
        self._seen.append((now, progress.bytes or 0))
        while len(self._seen) > 2 and self._seen[1][0] < now - _WINDOW:
            self._seen.popleft()

    def rate(self, now: float) -> float:
        """Bytes a second of late. While nothing comes it sinks, so that one that hangs is seen."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (_, last) = self._seen[0], self._seen[-1]
        return max(0.0, last - first) / max(now - began, 1.0)

    @property
    def bytes(self) -> float:
        """What was moved so far."""
        return float(self.progress.bytes or 0) if self.progress else 0.0


class Tally:
    """Fed with every event; asked for the running ones and for a line about all of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.running: dict[str, Work] = {}
        self.done = self.failed = 0
        self._expected: dict[str, float | None] = {}
        self._waiting: list[str] = []
        self._parallel = 0
        self._bytes = 0.0

    def take(self, event: Event) -> None:
        """Note one event."""
        now = self._clock()
        if isinstance(event, Planned):
            self._expected, self._parallel = dict(event.expected), event.parallel
            self._waiting = list(self._expected)
        elif isinstance(event, Paced):
            self._parallel = event.parallel or self._parallel
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Started | Progress | Waiting):
            self._at_work(event, now)

    def _at_work(self, event: Started | Progress | Waiting, now: float) -> None:
        if event.subject not in self.running:
            self.running[event.subject] = Work(event.subject, now)
            if event.subject in self._waiting:
                self._waiting.remove(event.subject)
        work = self.running[event.subject]
        work.words = event.message or work.words
        if isinstance(event, Progress):
            work.note(event, now)
        elif isinstance(event, Waiting):
            work.until = now + event.seconds

    def _finish(self, event: Finished) -> None:
        work = self.running.pop(event.subject, None)
        self._bytes += work.bytes if work else 0.0
        if event.subject in self._expected:
            self.done += 1
            self.failed += event.status not in (Status.OK, Status.WARNING, Status.SKIPPED)

    def left(self) -> float | None:
        """Seconds until all are done, by what earlier nights took; None when none is known."""
        known = {name: seconds for name, seconds in self._expected.items() if seconds is not None}
        expected, now = guessed(self._expected, known), self._clock()
        if expected is None:
            return None
        running = [expected.get(w.name, 0.0) - (now - w.since) for w in self.running.values()]
        return remaining(running, [expected[name] for name in self._waiting], self._parallel)

    @property
    def planned(self) -> bool:
        """Whether there is something to say of all: not before the first host and not after the last."""
        return self.done < len(self._expected)

    def words(self) -> str:
        """12 of 200 hosts, 1 not good, 4 at work, 48.3 GiB, about 35 minutes left."""
        done = sum(work.bytes for work in self.running.values()) + self._bytes
        parts = [f"{self.done} of {counted(len(self._expected), 'host')}"]
        parts += [f"{self.failed} not good"] if self.failed else []
        parts += [f"{len(self.running)} at work", size(done)]
        if left := self.left():
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)
