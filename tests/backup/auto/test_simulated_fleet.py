"""`parallel = "auto"` in a simulated fleet: hosts that wait for a network and disks, and share processors.

No run is shorter than its processor time over the processors, nor than its longest host alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zborg.planning.backup.pace import LOOK, Machine, Pace, Seen

pytestmark = pytest.mark.unit

# As `scripts/bench fleet` measured hosts with nothing new at a round trip of 100 ms, on 2 processors.
ALONE, WORK = 2.7, 0.75  # seconds, of which the processors work
PHASES = 12  # in each of which a host waits first


@dataclass
class Host:
    """Alternately waits and works, so many seconds each."""

    phases: Sequence[float]
    at: int = 0
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.phases[0]

    @property
    def works(self) -> bool:
        return self.at % 2 == 1

    def pass_by(self, seconds: float) -> bool:
        """Whether it has ended."""
        self.left -= seconds
        while self.left <= 1e-9 and self.at < len(self.phases) - 1:
            self.at += 1
            self.left = self.phases[self.at]
        return self.left <= 1e-9


@dataclass
class Night:
    """The events of a simulated night. `fixed`: that many at once, in place of what is found."""

    processors: int
    fixed: int = 0
    memory: float | None = None
    now: float = 0.0
    numbers: list[int] = field(default_factory=list)

    def wall(self, hosts: Sequence[Sequence[float]]) -> float:
        """Seconds until all have ended, the longest first."""
        waiting = sorted(hosts, key=sum, reverse=True)
        pace, at_work = Pace.begin(Machine(self.processors, 1000), 0.0), list[Host]()
        self.numbers, idle, ended, done, look = [pace.allowed], 0.0, 0, 0.0, LOOK
        while waiting or at_work:
            while waiting and len(at_work) < (self.fixed or pace.allowed):
                at_work.append(Host(waiting.pop(0)))
            share = self._share(at_work)
            busy = sum(host.works for host in at_work)
            step = min([host.left / (share if host.works else 1) for host in at_work] + [look - self.now])
            self.now += step
            idle += step * max(0.0, 1 - busy / self.processors)
            gone = [host for host in at_work if host.pass_by(step * (share if host.works else 1))]
            at_work = [host for host in at_work if host not in gone]
            ended, done = ended + len(gone), done + sum(sum(host.phases) for host in gone)
            if self.now >= look - 1e-9:
                pace = pace.after(Seen(self.now, len(at_work), idle / LOOK, self.memory, ended, done))
                self.numbers += [pace.allowed] if pace.allowed != self.numbers[-1] else []
                idle, look = 0.0, self.now + LOOK
        return self.now

    def _share(self, at_work: Sequence[Host]) -> float:
        """Of a second's work that each gets done in a second."""
        return min(1.0, self.processors / max(1, sum(host.works for host in at_work)))


def fleet(count: int, alone: float, work: float, rng: random.Random) -> list[list[float]]:
    def phase() -> list[float]:
        return [
            (alone - work) / PHASES * rng.uniform(0.6, 1.4),
            work / PHASES * rng.uniform(0.6, 1.4),
        ]

    return [[seconds for _ in range(PHASES) for seconds in phase()] for _ in range(count)]


def limit(hosts: Sequence[Sequence[float]], processors: int) -> float:
    return max(sum(sum(host[1::2]) for host in hosts) / processors, max(map(sum, hosts)))


@pytest.mark.parametrize("count", [40, 200])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 32))
def test_far_hosts_are_done_within_a_fifth_of_the_limit(count: int, seed: int) -> None:
    hosts, night = fleet(count, ALONE, WORK, random.Random(seed)), Night(2)
    assert night.wall(hosts) <= 1.2 * limit(hosts, 2)
    assert len(night.numbers) <= 5
    assert night.numbers == sorted(night.numbers), "it went up, and never back"


def test_four_at_once_take_as_long_as_was_measured() -> None:
    """1.9 of the limit by `scripts/bench fleet`, so what is simulated is like what was measured."""
    hosts = fleet(40, ALONE, WORK, random.Random(1))
    assert 1.8 <= Night(2, fixed=4).wall(hosts) / limit(hosts, 2) <= 2.0


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([1, 2, 4]),
    st.floats(0.2, 4.0),
    st.floats(1.0, 3.0),
    st.integers(0, 1 << 32),
)
def test_whatever_hosts_need_it_comes_near_the_limit(
    processors: int, work: float, waits: float, seed: int
) -> None:
    """`waits`: how much longer than its work each waits.

    Where the work takes a while, to find out costs little.
    """
    hosts = fleet(120, work * (1 + waits), work, random.Random(seed))
    night = Night(processors)
    best = limit(hosts, processors)
    assert night.wall(hosts) <= 1.25 * best + 3 * LOOK
    assert len(night.numbers) <= 8


def test_processors_that_are_busy_by_few_hosts_get_no_more() -> None:
    night = Night(2)
    night.wall(fleet(40, 3.0, 2.9, random.Random(1)))
    assert night.numbers == [8]


def test_with_little_memory_all_are_done_one_after_another() -> None:
    night = Night(2, memory=0.01)
    hosts = fleet(40, ALONE, WORK, random.Random(1))
    assert night.wall(hosts) < 40 * ALONE * 1.5
    assert night.numbers == [8, 4, 2, 1]
