"""Which hosts have a place in `parallel`, who may begin, and when a night goes on without the rest.

Pure; times are seconds. A host far beyond its usual time works on, and another begins in its place:
hosts that hang must not keep the others waiting. How far that may go is limited, because where the storage
itself is slow all hosts are late at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from zborg.planning.backup.memory import Room

_FACTOR = 3.0  # times the median of a week
_LEAST = 600.0  # a host that takes seconds is not late after a minute
_UNKNOWN = 3600.0  # without a history: a first backup may take days, and gives way after an hour
_MOST = 3  # times `parallel` at work in all


def patience(usual: float | None) -> float:
    """How long a host may be at work and still count in `parallel`; `usual` is its median of a week."""
    return _UNKNOWN if usual is None else max(_LEAST, _FACTOR * usual)


@dataclass(frozen=True, slots=True)
class Places:
    """`parallel` places, and what each host usually takes (who has no history is not in `usual`).

    `jitter` is the longest that each waits before it connects, which is no work. `upper`: hosts at work in
    all where `parallel` is found while they run, and `room` the memory that they share.
    """

    parallel: int
    usual: Mapping[str, float]
    jitter: float = 0.0
    upper: int | None = None
    room: Room = Room(None)

    @property
    def most(self) -> int:
        """Hosts that may be at work in all, with those that gave up their place."""
        return _MOST * self.parallel if self.upper is None else self.upper

    def late(self, at_work: Mapping[str, float]) -> tuple[str, ...]:
        """Who gave up its place; `at_work` has the seconds that each host has been at work."""
        return tuple(name for name, seconds in at_work.items() if seconds > self._patience(name))

    def _patience(self, name: str) -> float:
        return self.jitter + patience(self.usual.get(name))

    def free(self, at_work: Mapping[str, float]) -> int:
        """How many hosts may begin now."""
        holding = len(at_work) - len(self.late(at_work))
        return max(0, min(self.parallel - holding, self.most - len(at_work)))

    def begin(self, waiting: Sequence[str], at_work: Mapping[str, float]) -> int:
        """How many of the waiting, in their order, begin now."""
        return self.room.begin(waiting[: self.free(at_work)], tuple(at_work))

    def next_look(self, at_work: Mapping[str, float]) -> float:
        """Seconds until the next one gives up its place; infinite when nobody will."""
        return min(self._left(at_work), default=inf)

    def _left(self, at_work: Mapping[str, float]) -> Iterator[float]:
        for name, seconds in at_work.items():
            if (left := self._patience(name) - seconds) >= 0:
                yield left


def window_left(window: float, since: float) -> float:
    """Seconds until a night that began its backups `since` seconds ago goes on; infinite without a window."""
    return max(0.0, window - since) if window else inf
