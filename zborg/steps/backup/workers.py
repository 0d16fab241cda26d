"""Hosts at work, each in a thread of its own; planning.backup.places says who may begin.

What is done for one host is the caller's. A fleet can be left while hosts are still at work, and be gone on
with later: their threads do not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from math import inf

from zborg.model import Host, Outcome, Status
from zborg.planning.backup.pace import LOOK
from zborg.planning.backup.places import Places
from zborg.steps.backup.auto import Auto

_LATER = 0.01  # seconds after which who gives up its place at a moment has given it up
_LONGEST = 3600.0  # seconds of one wait; a lock's timeout has a limit

Work = Callable[[Host], Outcome]  # raises nothing
Reason = Callable[[Sequence[Outcome]], str]


class Fleet:
    """`stop` says of the outcomes so far why no other host may begin, "" while they may.

    With `auto` the number of places is what it finds.
    """

    def __init__(
        self, hosts: Sequence[Host], work: Work, places: Places, stop: Reason, auto: Auto | None = None
    ) -> None:
        self._auto = auto
        self._waiting = list(hosts)
        self._work, self._places, self._stop = work, places, stop
        self._running: dict[Future[Outcome], tuple[Host, float]] = {}
        self._pool = ThreadPoolExecutor(max_workers=places.most, thread_name_prefix="host")
        self.outcomes: list[Outcome] = []

    @property
    def at_work(self) -> dict[str, float]:
        """By name, the seconds since it began."""
        now = time.monotonic()
        return {host.name: now - began for host, began in self._running.values()}

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of the hosts that were not begun yet."""
        return tuple(host.name for host in self._waiting)

    @property
    def ended(self) -> bool:
        """Whether no host is at work or waiting any more."""
        return not self._waiting and not self._running

    def advance(self, patience: float = inf) -> bool:
        """Until at least one host has ended; False when none had after `patience` seconds.

        A failure in here waits for the hosts that are at work: nobody would look after them.
        """
        deadline, some_ended = time.monotonic() + patience, False
        try:
            while not self.ended and not some_ended:
                self._begin()
                some_ended = self._take(deadline - time.monotonic())
                if not some_ended and time.monotonic() >= deadline:
                    break
        except BaseException:
            self._pool.shutdown()
            raise
        if self.ended:
            self._pool.shutdown()
            if self._auto:
                self._auto.end()
        return some_ended

    def _begin(self) -> None:
        at_work = self.at_work
        if self._auto and self._waiting:
            holding = len(at_work) - len(self._places.late(at_work))
            self._places = replace(self._places, parallel=self._auto.look(holding, self.outcomes))
        for host in self._waiting[: self._places.begin(self.waiting, at_work)]:
            self._running[self._pool.submit(self._work, host)] = host, time.monotonic()
            self._waiting.remove(host)

    def _take(self, left: float) -> bool:
        """Wait for an end, until the next host gives up its place; whether there was one."""
        look = self._places.next_look(self.at_work) + _LATER if self._waiting else inf
        if self._auto and self._waiting:
            look = min(look, LOOK)
        done, _ = wait(self._running, min(max(left, 0.0), look, _LONGEST), FIRST_COMPLETED)
        for future in done:
            del self._running[future]
            self.outcomes.append(future.result())
        if done and (reason := self._stop(self.outcomes)):
            self.outcomes += [Outcome("host", h.name, Status.SKIPPED, reason) for h in self._waiting]
            self._waiting = []
        return bool(done)
