"""Stopping: the signal handlers set one event, and every wait looks at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Set once by a signal. A thread that cleans up is shielded: what it began it may end."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._mine = threading.local()

    def set(self) -> None:
        """Stop, everybody. Safe in a signal handler."""
        self._event.set()

    def clear(self) -> None:
        """For tests, which go on in the same process."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether this thread has to stop; never while it is shielded."""
        return self._event.is_set() and not getattr(self._mine, "shielded", False)

    def wait(self, seconds: float) -> bool:
        """Wait, but no longer than until the word comes; whether it came."""
        return self._event.wait(seconds) and self.is_set()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Within it this thread is not interrupted: releasing what it holds must not be cut short."""
        before = getattr(self._mine, "shielded", False)
        self._mine.shielded = True
        try:
            yield
        finally:
            self._mine.shielded = before


cancelled = Interruption()
