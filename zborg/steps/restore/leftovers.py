"""What a killed restore left: its clone, or what it fetched, below the scratch of the pool.

`rotate` removes it, and so does the next restore of that host; both hold the lock of the host's restores, so
whatever lies there belongs to nobody who is alive. `doctor` finds it on the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from zborg.config import Config
from zborg.errors import Busy, SinkRefused, ZborgError
from zborg.model import Dataset, Finding, Host, Outcome, Snapshot, Status
from zborg.state.locks import Locks, Owner
from zborg.steps.context import StepRun, outcome_of
from zborg.steps.restore.interrupted import REMEDY, killed, restore_lock
from zborg.steps.restore.source import Place, Source, clear_stale, place_of, scratch_host


def findings(config: Config, locks: Locks, datasets: Sequence[Dataset]) -> Iterator[Finding]:
    """For `doctor`: of these datasets below the scratch those that no living restore uses."""
    for dataset in datasets:
        name = scratch_host(dataset.name)
        if name and locks.owner(restore_lock(name)) is None:
            words = f"left by a restore of {name} that was killed; it keeps its snapshot from rotation"
            yield Finding(dataset.name, Status.WARNING, words, REMEDY)


def clear_killed(run: StepRun) -> list[Outcome]:
    """After restores that left their record. On a normal night that is none, and nothing is asked."""
    context = run.context
    found = killed(context.config, context.locks)
    hosts = [host for host in context.config.hosts if host.name in found]
    return [_cleared(run, host, list(_places(run, host, found[host.name]))) for host in hosts]


def clear_cloned(run: StepRun, snapshots: Sequence[Snapshot]) -> list[Outcome]:
    """Where the listing of snapshots shows a clone in the scratch, and no restore is at work."""
    names = {scratch_host(clone) for snapshot in snapshots for clone in snapshot.clones}
    hosts = [host for host in run.context.config.hosts if host.name in names]
    idle = [host for host in hosts if run.context.locks.owner(restore_lock(host.name)) is None]
    return [_cleared(run, host, [place_of(run.context, host.name)]) for host in idle]


def _places(run: StepRun, host: Host, owner: Owner) -> Iterator[Place]:
    """The storage, and the target that the killed command named."""
    yield place_of(run.context, host.name)
    words = owner.command.split()
    for target in run.context.config.targets:
        if target.name in words or f"--from={target.name}" in words:
            yield place_of(run.context, host.name, Source(target.name))


def _cleared(run: StepRun, host: Host, places: Sequence[Place]) -> Outcome:
    gone: list[str] = []
    try:
        with run.context.locks.hold(restore_lock(host.name)):
            for place in places:
                gone += _stale(run, place)
    except Busy:
        return Outcome("restore", host.name, Status.SKIPPED, "a restore has begun, and clears up by itself")
    except ZborgError as error:  # no reason to call the rotation itself partial
        return replace(outcome_of("restore", host.name, error), status=Status.WARNING)
    words = f"removed {', '.join(gone)}" if gone else "nothing was left"
    return Outcome("restore", host.name, Status.OK, f"after a restore that was killed: {words}")


def _stale(run: StepRun, place: Place) -> list[str]:
    try:
        return clear_stale(run, place)
    except SinkRefused:
        if place.target:
            return []  # behind a sink nothing was made
        raise
