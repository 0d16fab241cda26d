"""How busy this machine is: the share of its processors that is idle, and its memory.

Linux has both in proc_stat(5) and proc_meminfo(5). Elsewhere the load average stands for the processors,
which follows half a minute late, and how much memory is available is not known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")
_ARC = "spl/kstat/zfs/arcstats"  # of OpenZFS on Linux
_IDLE = 3  # of the numbers behind "cpu"; the time in which a disk is waited for is another one
_COUNTED = 8  # of them; those of guests are in the others already


class Load:
    """Reads the machine's own accounts; `proc` is another directory in tests."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._before = self._ticks()

    @property
    def processors(self) -> int:
        """How many this machine has."""
        return os.cpu_count() or 1

    def idle(self) -> float:
        """Share of the processors' time since the last call that was idle, 0 to 1.

        Waiting for a disk is not idle: more hosts at once would wait for the same one.
        """
        now, before = self._ticks(), self._before
        if not now or not before:
            return min(1.0, max(0.0, 1 - os.getloadavg()[0] / self.processors))
        passed = sum(now) - sum(before)
        if passed <= 0:  # nothing was counted yet: as if nothing was idle
            return 0.0
        self._before = now
        return min(1.0, max(0.0, (now[_IDLE] - before[_IDLE]) / passed))

    def available(self) -> float | None:
        """Share of the memory that processes could still take, with what ZFS gives back; None: not known."""
        found = meminfo(self._text("meminfo"))
        if not found.get("MemTotal") or "MemAvailable" not in found:
            return None
        arc = _arcstats(self._text(_ARC))
        given_back = max(0, arc.get("size", 0) - arc.get("c_min", 0))
        return min(1.0, (found["MemAvailable"] + given_back) / found["MemTotal"])

    def memory(self) -> int | None:
        """Bytes of memory and swap that this machine has; without Linux's account, without the swap."""
        if total := memory_and_swap(self._text("meminfo")):
            return total
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None

    def _ticks(self) -> tuple[int, ...]:
        words = self._text("stat").partition("\n")[0].split()[1 : _COUNTED + 1]
        return tuple(map(int, words)) if len(words) > _IDLE and all(map(str.isdecimal, words)) else ()

    def _text(self, name: str) -> str:
        try:
            return (self._proc / name).read_text()
        except OSError:
            return ""


def meminfo(text: str) -> Mapping[str, int]:
    """Bytes by name, of proc_meminfo(5); what is no such line is passed over."""
    rows = (line.split() for line in text.splitlines())
    return {row[0][:-1]: int(row[1]) << 10 for row in rows if len(row) == 3 and _is_number(row[1])}


def memory_and_swap(text: str) -> int:
    """Bytes in all, of proc_meminfo(5); 0 when it does not have them."""
    found = meminfo(text)
    return found.get("MemTotal", 0) + found.get("SwapTotal", 0)


def _arcstats(text: str) -> Mapping[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) == 3 and _is_number(row[2])}


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 18
