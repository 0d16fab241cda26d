"""backup: one borg archive per host, several hosts at once, the longest first.

What is done for one host is in host.py.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from zborg.errors import Damage, ZborgError
from zborg.load import Load
from zborg.model import Dataset, Host, Outcome, Report, Status
from zborg.model.events import Finished, Paced, Planned, Started, Warned
from zborg.model.results import backup_of
from zborg.model.text.remedy import command
from zborg.model.text.units import counted, duration, to_second
from zborg.planning.backup import excuses
from zborg.planning.backup.memory import Room
from zborg.planning.backup.pace import Machine
from zborg.planning.backup.places import Places
from zborg.planning.backup.schedule import longest_first, prune_is_due
from zborg.state.locks import Lock
from zborg.steps.backup.auto import Auto, room_of
from zborg.steps.backup.borgmatic import ReverseBackup
from zborg.steps.backup.earlier_runs import Past, look_back
from zborg.steps.backup.host import HostRun, archive_name
from zborg.steps.backup.retry import Tries, pause
from zborg.steps.backup.witness import HostCheckpoint
from zborg.steps.backup.workers import Fleet
from zborg.steps.checks import Checks, check_room
from zborg.steps.context import Context, StepRun, conclude, missing, nobody, outcome_of, select_hosts
from zborg.steps.ledger.begun import may_be_compacting, newest_checkpoint
from zborg.steps.mounts import check_mounted


@dataclass(frozen=True)
class Request:
    """Which hosts, none named: all without the excluded; and how a failure of some counts."""

    hosts: Sequence[str] = ()
    exclude: Sequence[str] = ()
    fail_fast: bool = False
    allow_partial: bool = False


def backup(run: StepRun, request: Request) -> Report:
    """Back up the selected hosts, and wait for all. Raises UsageError before anything starts."""
    return Backup(run, request).within(inf)


class Backup:
    """One run of `backup`, which can be left while hosts are still at work, and be gone on with.

    Raises UsageError before anything starts; nothing does before `within`.
    """

    def __init__(self, run: StepRun, request: Request) -> None:
        context = run.context
        hosts = select_hosts(context.config, request.hosts, request.exclude)
        self._run, self._request = run, request
        oldest = max((host.max_age for host in hosts), default=0)
        self._past = look_back(context.runs, self._run.started, context.config.prune_every, oldest)
        self._hosts = _ordered(hosts, self._past)
        self._others = [
            Outcome("host", name, Status.SKIPPED, "excluded on the command line") for name in request.exclude
        ]
        self._fleet: Fleet | None = None
        self._ended: list[Outcome] = []
        self._recording = threading.Lock()

    def within(self, seconds: float) -> Report:
        """The report after so many seconds at most: a host that has not ended by then is busy."""
        if self._run.dry_run:
            return self._run.planned(_plan(self._run, self._hosts))
        deadline = time.monotonic() + seconds
        if self._fleet is None:
            self._start()
        while not self.ended:
            self.advance(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                break
        return self.report(seconds)

    def advance(self, patience: float = inf) -> None:
        """Until another host has ended."""
        if self._fleet:
            self._fleet.advance(patience)

    def _record(self, outcome: Outcome) -> Outcome:
        """Saved at once: a killed run loses no finished host."""
        with self._recording:
            # The run may go on for hours with others: the outcome has its own time.
            finished = to_second(self._run.context.clock())
            self._ended.append(replace(outcome, result=backup_of(outcome.result).replace(finished=finished)))
            self._run.context.runs.save(self._run.report([*self._others, *self._ended]))
            return self._ended[-1]

    @property
    def ended(self) -> bool:
        """Whether no host is at work or waiting any more."""
        return self._fleet is None or self._fleet.ended

    def report(self, window: float) -> Report:
        """As of now, saved."""
        context = self._run.context
        with self._recording:
            ended = list(self._ended)
        fleet = [*ended, *_others(self._fleet, ended, window)] if self._fleet else []
        outcomes = [*self._others, *fleet] or [nobody(context.config)]
        partial_ok = self._request.allow_partial or context.config.allow_partial
        report = self._run.report(outcomes, rule=partial(conclude, partial_ok=partial_ok))
        context.runs.save(report)
        return report

    def _start(self) -> None:
        context = self._run.context
        try:
            datasets = _datasets(context)
        except ZborgError as error:
            self._others += [outcome_of("host", host.name, error) for host in self._hosts]
            return
        root = datasets.get(context.config.storage.dataset)
        if root and root.mountpoint:
            context.tunnel.serve_below(root.mountpoint)
        newest = newest_checkpoint(context.config)
        work = _HostWork(self._run, self._past, datasets, Checks.gather(self._run), self._record, newest)
        places = Places(context.config.parallel, self._past.seconds, context.config.jitter)
        auto = None
        if not places.parallel:
            auto, places = self._found_while_at_work(places, datasets)
        work.announce(self._hosts, places.parallel)
        self._fleet = Fleet(self._hosts, work.one, places, self._reason_to_stop, auto)

    def _found_while_at_work(self, places: Places, datasets: Mapping[str, Dataset]) -> tuple[Auto, Places]:
        """With `parallel = "auto"`: each `borg serve` has a limit, with which all fit into the memory."""
        run, context = self._run, self._run.context
        try:
            room = room_of(context, self._hosts, datasets)
        except ZborgError as error:  # each host's own backup meets it as well, and says what to do
            room = Room(None)
            words = f"how many hosts the memory permits is not known: {error.message}"
            context.emit(Warned(run.command, words))
        context.tunnel.serve_within(room.limits)

        def tell(parallel: int, words: str) -> None:
            context.emit(Paced(run.command, words, parallel=parallel))

        auto = Auto(room.fits, self._past.seconds, tell)
        return auto, replace(places, parallel=auto.allowed, upper=auto.most, room=room)

    def _reason_to_stop(self, outcomes: Sequence[Outcome]) -> str:
        if any(outcome.status is Status.INTERRUPTED for outcome in outcomes):
            return "not started: interrupted"
        if self._request.fail_fast and any(outcome.status.bad for outcome in outcomes):
            return "not started: --fail-fast"
        return ""


def _others(fleet: Fleet, ended: Sequence[Outcome], window: float) -> list[Outcome]:
    """Who was left out, and who is still to end when a night goes on: at work, or without a place yet."""
    known = {one.subject for one in ended}
    skipped = [one for one in fleet.outcomes if one.status is Status.SKIPPED]
    return [one for one in (*skipped, *_unfinished(fleet, window)) if one.subject not in known]


def _unfinished(fleet: Fleet, window: float) -> list[Outcome]:
    took, look = f"within window = {duration(window)}" if window < inf else "yet", command("zborg", "status")
    at_work = ", ".join(fleet.at_work)
    words = {
        name: f"not finished {took}: at work for {duration(seconds)}; its end gets a snapshot of its own"
        for name, seconds in fleet.at_work.items()
    }
    words |= dict.fromkeys(fleet.waiting, f"not begun {took}: its place is taken by {at_work}")
    return [Outcome("host", name, Status.BUSY, reason, look) for name, reason in words.items()]


def _ordered(hosts: Sequence[Host], past: Past) -> tuple[Host, ...]:
    by_name = {host.name: host for host in hosts}
    return tuple(by_name[name] for name in longest_first(by_name, past.seconds))


def _plan(run: StepRun, hosts: Sequence[Host]) -> list[str]:
    config = run.context.config
    lines = [
        f"back up {h.name} ({h.endpoint}) into {config.storage.dataset_of(h.name)} {_as(run, h)}"
        for h in hosts
    ]
    return [*lines, f"{counted(len(hosts), 'host')}, {_at_once(run.context, hosts)}"]


def _at_once(context: Context, hosts: Sequence[Host]) -> str:
    if parallel := context.config.parallel:
        return f"{min(parallel, len(hosts))} at once"
    try:
        fits = room_of(context, hosts, _datasets(context)).fits
    except ZborgError as error:
        return f"how many at once is not known: {error.message}"
    machine = Machine(Load().processors, fits)
    first, most = min(machine.first, len(hosts)), min(machine.most, len(hosts))
    return f"{first} at once to begin with, and at most {most}"


def _as(run: StepRun, host: Host) -> str:
    return "by its own borgmatic" if host.reverse else f"as {archive_name(host, run.started)}"


@dataclass(frozen=True)
class _HostWork:
    """What is done for each host of one run."""

    run: StepRun
    past: Past
    datasets: Mapping[str, Dataset]
    checks: Checks
    record: Callable[[Outcome], Outcome]
    checkpoint: str  # of the ledger, which hosts are given; "" without one

    def announce(self, hosts: Sequence[Host], parallel: int) -> None:
        """What shows the work knows from this what is still to come."""
        expected = {host.name: self.past.seconds.get(host.name) for host in hosts}
        self.run.context.emit(Planned(self.run.command, expected=expected, parallel=parallel))

    def one(self, host: Host) -> Outcome:
        """One host, whatever happens to it, as an outcome: no host ends the night of the others."""
        context = self.run.context
        try:
            context.emit(Started(host.name))
            pause(self.run, host, random.uniform(0, context.config.jitter))
            # Recorded before the lock is let go: a snapshot finds the host at work, or what became of it.
            with context.locks.hold(f"host-{host.name}") as lock:
                outcome = self.record(self._judged(host, lock))
        except Exception as error:
            outcome = self.record(outcome_of("host", host.name, error))
        context.emit(Finished(host.name, outcome.message, outcome.status))
        return outcome

    def _judged(self, host: Host, lock: Lock) -> Outcome:
        try:
            made = self._under_lock(host, lock)
        except Exception as error:
            return outcome_of("host", host.name, error)
        return excuses.judged(host, made, self.past.since.get(host.name), self.run.context.clock())

    def _checkpoint(self, host: Host) -> HostCheckpoint:
        return HostCheckpoint(self.checkpoint, self.past.witness.get(host.name))

    def _under_lock(self, host: Host, lock: Lock) -> Outcome:
        home = _home(self.run.context, host, self.datasets)
        if may_be_compacting(self.run.context.config, host.name):
            from zborg.steps.undelete.settle import settle  # with it comes what signs the ledger

            for one in settle(self.run, host):
                if one.status.bad:  # an alarm of this night; the next one serves it again
                    raise Damage(f"{one.kind}: {one.message}", one.remedy)
        if host.reverse:
            tries = Tries(self.run, host)
            return tries.persistently(lambda _: ReverseBackup(self.run, tries.limited(), lock).execute(home))
        work = HostRun(self.run, host, lock, home, self._checkpoint(host))
        made = self.checks.judged(host, work.execute())
        return work.pruned(made) if self._is_to_prune(made) else made

    def _is_to_prune(self, made: Outcome) -> bool:
        """An archive that is doubted must not push the others out."""
        last, every = self.past.pruned.get(made.subject), self.run.context.config.prune_every
        due = prune_is_due(last, self.run.started, every)
        return due and made.status.good and not backup_of(made.result).doubt


def _datasets(context: Context) -> dict[str, Dataset]:
    root = context.config.storage.dataset
    found = {dataset.name: dataset for dataset in context.storage.zfs.datasets(root)}
    if not found:
        raise missing(context.storage.zfs, root, "", "zborg init")
    return found


def _home(context: Context, host: Host, datasets: Mapping[str, Dataset]) -> str:
    """The mountpoint of the host's dataset."""
    name = context.config.storage.dataset_of(host.name)
    dataset = datasets.get(name)
    if dataset is None:
        raise ZborgError(f"the dataset {name} does not exist", command("zborg", "init", host.name))
    home = check_mounted(context, dataset, datasets.get(context.config.storage.dataset))
    check_room(dataset, context.config.storage)
    return home
