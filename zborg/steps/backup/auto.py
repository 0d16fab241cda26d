"""`parallel = "auto"`: what the storage's memory permits, and what this machine shows while hosts work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from zborg.borg.storage.repository import index_sizes
from zborg.errors import CommandFailed
from zborg.load import Load, memory_and_swap
from zborg.model import Dataset, Host, Outcome
from zborg.model.text.units import counted
from zborg.planning.backup.memory import SERVE_LIMIT, Room, limit_of
from zborg.planning.backup.pace import LOOK, Machine, Pace, Seen
from zborg.steps.context import Context

_LISTING = 30.0


def room_of(context: Context, hosts: Sequence[Host], datasets: Mapping[str, Dataset]) -> Room:
    """For these hosts; `datasets` are the storage's by name. Raises ZborgError.

    Where `borg serve` is started by a sshd its limit is the one that lies there, the same for all. So it is
    for few hosts: there is memory for all of them, and their repositories need not be looked at.
    """
    storage, limits = context.config.storage, dict.fromkeys((host.name for host in hosts), SERVE_LIMIT)
    memory = memory_of(context)
    if storage.endpoint or len(hosts) == 1 or (memory is not None and sum(limits.values()) <= memory):
        return Room(memory, limits)
    served_here = [host for host in hosts if not host.reverse]
    there = ((datasets.get(storage.dataset_of(host.name)), host.name) for host in served_here)
    homes = {one.mountpoint: name for one, name in there if one and one.mounted and one.mountpoint}
    sizes = index_sizes(context.storage.runner, list(homes))
    limits |= {name: limit_of(sizes.get(home)) for home, name in homes.items()}
    return Room(memory, limits)


def memory_of(context: Context) -> int | None:
    """Bytes of memory and swap of the storage's machine; None: one elsewhere that has no proc_meminfo(5)."""
    if context.config.storage.endpoint is None:
        return Load().memory()
    try:
        answer = context.storage.runner.run(["cat", "/proc/meminfo"], timeout=_LISTING)
    except CommandFailed as error:
        if error.retryable:
            raise
        return None
    return memory_and_swap(answer.stdout) or None


class Auto:
    """How many hosts may be at work now. `usual`: seconds by host; `tell` gets each change and why, and at
    the end 0 and the sum.

    `load` and `clock` (monotonic seconds) are other ones in tests.
    """

    def __init__(
        self,
        fits: int,
        usual: Mapping[str, float],
        tell: Callable[[int, str], None],
        load: Load | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._clock, self._tell = load or Load(), clock, tell
        self._usual, self._ended = usual, False
        self._mean = sum(usual.values()) / len(usual) if usual else 1.0
        self._looked = clock()
        self._pace = Pace.begin(Machine(self._load.processors, fits), self._looked)
        self._numbers = [self._pace.allowed]

    @property
    def most(self) -> int:
        """Hosts at work at the most."""
        return self._pace.machine.most

    @property
    def allowed(self) -> int:
        """Hosts that may be at work as of the last look."""
        return self._pace.allowed

    def look(self, at_work: int, ended: Sequence[Outcome]) -> int:
        """Observe, if it is time to, and return `allowed`. `at_work`: hosts that hold a place."""
        now = self._clock()
        if now - self._looked < LOOK:
            return self.allowed
        self._looked = now
        before, done = self.allowed, sum(self._usual.get(one.subject, self._mean) for one in ended)
        seen = Seen(now, at_work, self._load.idle(), self._load.available(), len(ended), done)
        self._pace = self._pace.after(seen)
        if self.allowed != before:
            self._numbers.append(self.allowed)
            words = f"{counted(self.allowed, 'host')} at once, {before} before: {self._pace.why}"
            self._tell(self.allowed, words)
        return self.allowed

    def end(self) -> None:
        """Tell the sum of it, once."""
        if self._ended:
            return
        self._ended = True
        low, high, changes = min(self._numbers), max(self._numbers), len(self._numbers) - 1
        at_once = f"{low} to {high}" if low < high else f"{low}"
        self._tell(0, f"{at_once} hosts were allowed at once, {counted(changes, 'change')}")
