"""Many hosts at once with nothing new to back up, far away: how long, and what each costs.

What would be the best wall time? No run is shorter than its processor time over the processors, nor than
its slowest host alone. The goal is 1.3 times the larger of the two. Hosts and server share this machine's
processors here, so the hosts' time and the relay's is in that total, and shown apart.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.fleet.tables import (
    AUTO,
    HOSTS,
    KINDS,
    RELAY,
    SERVER,
    Round,
    Run,
    by_kind,
    cpu_table,
    memory_table,
    named,
    room,
    slowest,
    wall_table,
)
from tests.bench.fleet.world import FleetWorld, end
from tests.bench.pairs import machine
from tests.bench.usage import Bill, Watch, available, busy

_FLOOR = 1 << 30  # bytes of memory that are left to the machine
_TICK = 0.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: `alone` hosts stand for all in the run of one after another."""

    hosts: int = 200
    parallel: Sequence[int] = (AUTO, 8, 32, 64, 200)
    alone: int = 40
    rounds: int = 3
    limit: float = 900.0  # seconds that one run may take
    round_trip: float = 0.1  # seconds

    @classmethod
    def of(cls, hosts: int) -> Sizes:
        """The usual, with no more at once than there are hosts."""
        usual = cls()
        at_once = {min(parallel, hosts) for parallel in usual.parallel} - {1}
        return cls(hosts, sorted(at_once), alone=min(usual.alone, hosts))

    @classmethod
    def quick(cls, hosts: int) -> Sizes:
        """To see it work: one to two minutes for 20 hosts."""
        return replace(
            cls.of(hosts), parallel=sorted({AUTO, min(4, hosts), hosts} - {1}), alone=min(5, hosts), rounds=1
        )


class Stopped(Exception):
    """A run that was ended because it took too much time or memory."""


def main(sizes: Sizes, save: Path | None = None) -> None:
    """Prints the tables; what is going on is told on stderr. `save` gets every run as JSON."""
    with (
        tempfile.TemporaryDirectory(prefix="zborg-fleet-") as name,
        FleetWorld(Path(name), sizes.hosts, sizes.round_trip, _say) as world,
    ):
        bench = Bench(world, sizes)
        rounds = bench.measure()
    trip = f"round trip {sizes.round_trip * 1000:.0f} ms"
    print(f"{machine()}; {sizes.hosts} hosts, {trip}, {len(rounds)} rounds")
    tables = wall_table(rounds, sizes.hosts, os.cpu_count() or 1), cpu_table(rounds), memory_table(rounds)
    for title, lines in zip(("Time", "Processor seconds per host", "Memory in MiB"), tables, strict=True):
        print(f"\n{title}:\n\n" + "\n".join(lines))
    print("\n" + "\n".join(f"* {note}" for note in bench.notes))
    if save:
        runs = [[asdict(run) for run in one.values()] for one in rounds]
        save.write_text(json.dumps({"machine": machine(), "sizes": asdict(sizes), "rounds": runs}, indent=1))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


class Bench:
    """Rounds of runs in a world; `notes` are what a reader of the tables has to know besides."""

    def __init__(self, world: FleetWorld, sizes: Sizes) -> None:
        self._world, self._sizes = world, sizes
        self._runs: list[Run] = []
        self.notes = [f"one after another: measured with {sizes.alone} hosts, wall and CPU scaled to all"]

    def measure(self) -> list[Round]:
        """The first backups of all, which are not measured, and then the rounds."""
        self._try("first backups", min(8, self._sizes.hosts))
        rounds: list[Round] = []
        for number in range(self._sizes.rounds):
            ways = [1, *self._sizes.parallel]
            # Another order each time, as in the other benchmarks.
            order = random.Random(number).sample(ways, len(ways))
            runs = [self._try(f"round {number + 1}", parallel) for parallel in order]
            rounds.append({run.parallel: run for run in runs if run})
        return rounds

    def _try(self, title: str, parallel: int) -> Run | None:
        """A run, unless there is no room for it or it had to be stopped; the notes then say so."""
        most = room(self._runs, available() - _FLOOR)
        if parallel > most:
            self._note(f"{named(parallel)} at once: left out, the memory free here holds about {most}")
            return None
        names = self._world.names[: self._sizes.alone] if parallel == 1 else self._world.names
        try:
            run = self._run(parallel, names)
        except Stopped as why:
            self._note(f"{named(parallel)} at once: stopped, {why}")
            return None
        _say(f"{title}, {named(parallel)} at once: {len(names)} hosts in {run.wall:.1f} s")
        if run.bad:
            self._note(f"{named(parallel)} at once: {run.bad} of {len(names)} hosts without a good backup")
            _say(self._world.said()[-2000:])
        self._runs.append(run)
        return run

    def _note(self, words: str) -> None:
        self.notes.append(words)
        _say(words)

    def _run(self, parallel: int, names: Sequence[str]) -> Run:
        """One zborg backup of these hosts, from its start to its end. Raises Stopped."""
        world = self._world
        roots = dict.fromkeys(world.sshd, HOSTS) | {world.relay.pid: RELAY}
        before, ended, machine_before = available(), len(world.relay.ended), busy()
        bill, process = Bill(roots), world.start(parallel, names)
        try:
            with Watch(roots | {process.pid: SERVER}, KINDS, _FLOOR) as watch:
                wall, used = self._wait(process, watch)
        finally:
            end(process)
        seconds, machine_after = bill.seconds() | {SERVER: used}, busy()
        world.relay.settle()
        return Run(
            parallel=parallel,
            hosts=len(names),
            bad=len(names) - world.good(),
            wall=wall,
            cpu=by_kind(watch.seen, seconds),
            busy=machine_after - machine_before,
            slowest=slowest(world.relay.ended[ended:]),
            active=watch.seen["ssh"].at_once,
            peak=watch.peaks[process.pid],
            shares={kind: seen.share for kind, seen in watch.seen.items()},
            taken=max(0, before - watch.least_available),
        )

    def _wait(self, process: subprocess.Popen[bytes], watch: Watch) -> tuple[float, float]:
        """Until zborg has ended: seconds of wall time, and of processor time with all its children's."""
        began, watching = time.monotonic(), os.pidfd_open(process.pid)
        try:
            while not select.select([watching], [], [], _TICK)[0]:
                if watch.short.is_set():
                    raise Stopped("less than 1 GiB of memory was left")
                if time.monotonic() - began > self._sizes.limit:
                    raise Stopped(f"it took more than {self._sizes.limit:.0f} s")
        finally:
            os.close(watching)
        wall = time.monotonic() - began
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for it again
        return wall, used.ru_utime + used.ru_stime
