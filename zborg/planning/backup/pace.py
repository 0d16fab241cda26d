"""How many hosts may be at work with `parallel = "auto"`: found while the fleet runs.

More begin while processors are idle and somebody waits for a place: what keeps a fleet from using them is
the hosts' own waiting, for their disks and for a far network. Soon there are fewer when memory gets short, or
when more hosts at once got less done. A number that was too much is not tried again in the same run, so this
comes to rest. Pure; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

UPPER = 64
"""Hosts at once, whatever a machine has."""

LOOK = 1.0
"""Seconds between two observations, in which a host that has just begun connects and borg starts."""

_FIRST = 4  # hosts for each processor to begin with
_LEAST = 4  # of them, as many as `parallel` was before it was found out
_FREELY = 16  # hosts for each processor up to which idle processors are reason enough
_IDLE = 0.2  # share of idle processors above which more may begin
_SHORT = 0.08  # share of memory that is available, below which fewer may be at work
_REST = 60.0  # seconds after a decrease without an increase
_ENOUGH = 8  # hosts that have to end, at least, before what was done in that time says something
_FELL = 0.7  # of what was done at a lower number
_GREW = 1.05  # of it, without which more are not worth it


@dataclass(frozen=True, slots=True)
class Machine:
    """`processors` of the server, and the hosts whose `borg serve` fits into the storage's memory at once."""

    processors: int
    fits: int

    @property
    def most(self) -> int:
        """Hosts at work at the most, with those that gave up their place."""
        return max(1, min(UPPER, self.fits))

    @property
    def first(self) -> int:
        """Hosts that begin at once."""
        return min(self.most, max(_LEAST, _FIRST * self.processors))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is observed at one moment. `done`: what has ended since the run began, by its usual seconds."""

    at: float  # of a monotonic clock
    at_work: int  # hosts that hold a place
    idle: float  # share of the processors that did nothing since the last look, 0 to 1
    memory: float | None = None  # share of the memory that is available; None: not known
    ended: int = 0  # hosts
    done: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What was done in a second while `allowed` were allowed."""

    allowed: int
    done: float


@dataclass(frozen=True, slots=True)
class Pace:
    """`allowed` hosts may be at work since `since`; `why` in words, "" before the first change."""

    machine: Machine
    allowed: int
    ceiling: int
    since: Seen
    why: str = ""
    rest: float = -inf  # until then there is no increase
    slow: bool = False  # there was a decrease: from now on one more at a time
    best: Rate | None = None

    @classmethod
    def begin(cls, machine: Machine, at: float) -> Pace:
        """Before the first host; `at` is now."""
        return cls(machine, machine.first, machine.most, Seen(at, 0, 1.0))

    def after(self, seen: Seen) -> Pace:
        """The pace as of now: the same, or one with another `allowed` and its reason."""
        if seen.at - self.since.at < LOOK:
            return self
        if seen.memory is not None and seen.memory < _SHORT:
            return self._short_of_memory(seen, seen.memory)
        if not self._is_measured(seen):
            return self._more(seen) if self.allowed < self._freely else self
        return self._measured(seen)

    @property
    def _freely(self) -> int:
        return 0 if self.slow else _FREELY * self.machine.processors

    def _short_of_memory(self, seen: Seen, memory: float) -> Pace:
        """Half of it, once those that are too many since the last decrease have ended."""
        if self.allowed == 1 or seen.at_work > self.allowed:
            return self
        words = f"{memory:.0%} of the memory is available"
        return self._fewer(max(1, self.allowed // 2), self.allowed - 1, seen, words)

    def _is_measured(self, seen: Seen) -> bool:
        """Whether enough ended at this number to compare it with another."""
        return seen.ended - self.since.ended >= max(_ENOUGH, self.allowed)

    def _measured(self, seen: Seen) -> Pace:
        rate = Rate(self.allowed, (seen.done - self.since.done) / (seen.at - self.since.at))
        if self.best is None or rate.allowed <= self.best.allowed:
            return replace(self, best=rate, since=seen)._more(seen)
        if rate.done < _FELL * self.best.done:
            words = f"{self.allowed} at once got less done than {self.best.allowed}"
            return self._fewer(self.best.allowed, self.best.allowed, seen, words)
        if rate.done < _GREW * self.best.done:  # stay: what more would bring is known
            return replace(self, ceiling=self.allowed, since=seen)
        return replace(self, best=rate, since=seen)._more(seen)

    def _more(self, seen: Seen) -> Pace:
        wanted = seen.idle > _IDLE and seen.at_work >= self.allowed and seen.at >= self.rest
        if not wanted or self.allowed >= self.ceiling:
            return self
        step = 1 if self.slow else max(self.machine.processors, self.allowed // 2)
        words = f"{seen.idle:.0%} of the processors' time was idle"
        rest = seen.at + _REST if self.slow else self.rest
        return replace(self, allowed=min(self.ceiling, self.allowed + step), since=seen, why=words, rest=rest)

    def _fewer(self, allowed: int, ceiling: int, seen: Seen, words: str) -> Pace:
        return replace(
            self,
            allowed=min(allowed, ceiling),
            ceiling=ceiling,
            since=seen,
            why=words,
            rest=seen.at + _REST,
            slow=True,
            best=None,
        )
