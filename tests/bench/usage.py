"""What a tree of processes costs while it runs: processor time and memory by kind, read from /proc.

Totals are exact: the kernel adds what an ended child used to the parent that waited for it, down the
whole tree. Who used it is sampled, so what ended between two looks is only in the total.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_OFTEN = 0.25  # seconds between two looks
_SHARE = 20  # or this many times what a look takes: 5 % of one processor at most
_QUIET = 10.0  # seconds for the last processes below the roots to end
_PROBED = 3  # processes of a kind whose own share of memory is read at a look

Kinds = Mapping[str, Mapping[str, str]]  # side -> command name -> kind; "" is every other command


@dataclass(frozen=True, slots=True)
class Task:
    """A process now: seconds of its own and of its ended children."""

    pid: int
    parent: int
    name: str
    own: float
    ended: float
    start: str  # clock ticks; with the pid it names one process for ever

    @property
    def tree(self) -> float:
        """Seconds of it and all that it waited for; who still runs below it counts later."""
        return self.own + self.ended


def parse(stat: str) -> Task:
    """/proc/PID/stat as proc(5) has it. The name may hold blanks and brackets."""
    head, _, tail = stat.rpartition(")")
    pid, _, name = head.partition(" (")
    words = tail.split()
    own, ended = (sum(map(int, words[at : at + 2])) / _TICKS for at in (11, 13))
    return Task(int(pid), int(words[1]), name, own, ended, words[19])


def task(pid: int) -> Task:
    return parse(Path(f"/proc/{pid}/stat").read_text())


def tasks() -> dict[int, Task]:
    """All processes."""
    found = {}
    for place in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):  # it may have ended
            one = parse((place / "stat").read_text())
            found[one.pid] = one
    return found


def peak(pid: int) -> int:
    """The most memory, in bytes, that the process has had resident (VmHWM); 0 when it has gone."""
    return _field(f"/proc/{pid}/status", "VmHWM:")


def share(pid: int) -> int:
    """Its share of memory, in bytes: pages that n processes use count as an n-th (PSS)."""
    return _field(f"/proc/{pid}/smaps_rollup", "Pss:")


def available() -> int:
    return _field("/proc/meminfo", "MemAvailable:")


def busy() -> float:
    """Processor seconds of the whole machine since it started, whoever used them (proc(5), /proc/stat)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def _field(path: str, key: str) -> int:
    with suppress(OSError), open(path) as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def family(all_tasks: Mapping[int, Task], roots: Mapping[int, str]) -> dict[int, str]:
    """The side of every process at or below a root."""
    found = dict(roots)
    for pid in all_tasks:
        line = []
        while pid not in found and pid in all_tasks:
            line.append(pid)
            pid = all_tasks[pid].parent
        side = found.get(pid, "")
        found |= dict.fromkeys(line, side)
    return {pid: side for pid, side in found.items() if side}


@dataclass
class Seen:
    """What was seen of one kind: seconds used, the most at once, the most memory of one process."""

    seconds: float = 0.0
    at_once: int = 0
    share: int = 0


class Watch:
    """Looks at the processes below `roots` (pid -> side) until its context ends.

    `floor` bytes of available memory are left to the machine: below it `short` is set.
    """

    def __init__(self, roots: Mapping[int, str], kinds: Kinds, floor: int = 0) -> None:
        self._roots, self._kinds, self._floor = dict(roots), kinds, floor
        self._begun = {pid: task(pid).own for pid in roots}
        self._used: dict[tuple[int, str], tuple[str, float]] = {}
        self._sides: dict[tuple[int, str], str] = {}
        self._end, self._thread = threading.Event(), threading.Thread(target=self._look_on)
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.peaks: dict[int, int] = defaultdict(int)
        self.least_available = available()
        self.short = threading.Event()
        self.seconds = 0.0  # what the looking itself cost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        for kind_of, seconds in self._used.values():
            self.seen[kind_of].seconds += seconds

    def _look_on(self) -> None:
        pause = 0.0
        while not self._end.wait(pause):
            began = time.thread_time()
            self._look()
            cost = time.thread_time() - began
            self.seconds += cost
            pause = max(_OFTEN, _SHARE * cost)

    def _look(self) -> None:
        now = tasks()
        groups: dict[str, list[Task]] = defaultdict(list)
        sides = family(now, self._roots)
        for pid, one in now.items():
            # An orphan stays what it was: its parent has ended before it.
            if side := self._sides.get((pid, one.start)) or sides.get(pid, ""):
                self._sides[pid, one.start] = side
                groups[self._note(side, one)].append(one)
        for kind, members in groups.items():
            seen = self.seen[kind]
            seen.at_once = max(seen.at_once, len(members))
            seen.share = max([seen.share, *(share(one.pid) for one in members[-_PROBED:])])
        self.least_available = min(self.least_available, available())
        if self.least_available < self._floor:
            self.short.set()

    def _note(self, side: str, one: Task) -> str:
        names = self._kinds[side]
        kind = names.get(one.name) or names[""]
        self._used[one.pid, one.start] = kind, one.own - self._begun.get(one.pid, 0.0)
        if one.pid in self._roots:
            self.peaks[one.pid] = max(self.peaks[one.pid], peak(one.pid))
        return kind


class Bill:
    """What trees of processes use from now on, to the kernel's account; `roots` are pid -> side."""

    def __init__(self, roots: Mapping[int, str]) -> None:
        self._roots = dict(roots)
        self._before = {pid: task(pid).tree for pid in roots}

    def seconds(self) -> dict[str, float]:
        """Per side. Waits until nobody is left below the roots: who still runs is not in the account."""
        deadline = time.monotonic() + _QUIET
        while family(tasks(), self._roots).keys() != self._roots.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        total: dict[str, float] = defaultdict(float)
        for pid, side in self._roots.items():
            total[side] += task(pid).tree - self._before[pid]
        return dict(total)
