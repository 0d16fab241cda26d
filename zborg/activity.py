"""Whether two joined processes still move data. It is seen from outside: the data path has no Python in it.

Linux counts in /proc/PID/io (proc(5)) what a process has read and written, sockets and pipes included. What
lies unread in the pipe between the two, and the state of the one that serves, say which side is silent. Where
the system has no such counters nothing is judged.
"""

from __future__ import annotations

import fcntl
import re
import struct
import termios
import time
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

FLOOR = 64.0
"""Bytes a second, over the whole window, below which a pair counts as stalled: SSH's keepalives make about
10, a line of 9600 bit/s about 1000."""

_LOOKS = 30  # in one window
_PER_FILE = 1024  # bytes that one more file of borg's progress counts for
_COUNTED = re.compile(r'"(original_size|nfiles|current)": ?([0-9]{1,18})')
_STUCK = frozenset("DTt")  # proc_pid_stat(5): waits for a disk, stopped, traced


class Side(StrEnum):
    """Who does not answer."""

    HOST = "host"
    STORAGE = "storage"


class Floor:
    """Pure: a count that only grows, and whether it grew by less than FLOOR a second for a whole window."""

    def __init__(self, window: float, now: float) -> None:
        self._window = window
        self._seen: deque[tuple[float, float]] = deque([(now, 0.0)])

    def stalled(self, now: float, total: float) -> bool:
        """Note the count as of now. Times are monotonic seconds."""
        self._seen.append((now, total))
        # The first that stays is the newest that is a whole window old.
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()
        began, before = self._seen[0]
        return now - began >= self._window and total - before < FLOOR * (now - began)


class Watch:
    """Looks at two processes, host and storage side, now and then; `check` is cheap enough for every tick.

    `pipe` is the pipe's end from which the storage's process reads.
    """

    def __init__(self, pids: Sequence[int], pipe: int, window: float) -> None:
        self._pids, self._pipe, self._window = tuple(pids), pipe, window
        self._floor, self._every = Floor(window, time.monotonic()), window / _LOOKS
        self._next = 0.0
        self._moved: dict[int, int] = {}
        self._claimed: dict[str, int] = {}

    def note(self, lines: Sequence[str]) -> None:
        """borg's progress counts: hashing a large file that did not change moves no byte for hours."""
        for line in lines:
            for key, value in _COUNTED.findall(line):
                self._claimed[key] = max(self._claimed.get(key, 0), int(value))

    def silent(self) -> Side | None:
        """Who has stalled the pair for a whole window; None when nobody has, or nothing can be seen."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + self._every
        for pid in self._pids:
            self._moved[pid] = max(self._moved.get(pid, 0), _transferred(pid))
        if not any(self._moved.values()):  # no such counters here, or not for us
            return None
        return self._who() if self._floor.stalled(now, self._total()) else None

    def _total(self) -> float:
        claimed = {key: value * (_PER_FILE if key == "nfiles" else 1) for key, value in self._claimed.items()}
        return float(sum(self._moved.values()) + sum(claimed.values()))

    def _who(self) -> Side:
        """Data that waits for the storage, or a process there that waits for a disk: else it is the host."""
        return Side.STORAGE if _unread(self._pipe) or _state(self._pids[-1]) in _STUCK else Side.HOST


def _transferred(pid: int) -> int:
    try:
        rows = (line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        return sum(int(value) for key, value in rows if key in ("rchar", "wchar"))
    except (OSError, ValueError):
        return 0


def _unread(pipe: int) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return count


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
