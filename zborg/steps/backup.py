"""backup: one borg archive per host, several hosts at once, the longest first.

What is done for one host is in host_backup.py.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

from zborg.errors import ZborgError
from zborg.model import Dataset, Event, Host, Outcome, Report, Status
from zborg.model.remedy import command
from zborg.model.words import counted, moment
from zborg.planning import excuses
from zborg.planning.schedule import longest_first, prune_is_due
from zborg.steps.checks import Checks, check_room
from zborg.steps.context import (
    Begun,
    Context,
    begin,
    conclude,
    missing,
    nobody,
    outcome_of,
    select_hosts,
)
from zborg.steps.host_backup import HostBackup, archive_name
from zborg.steps.mounts import check_mounted
from zborg.steps.past import Past, look_back
from zborg.steps.reverse import ReverseBackup
from zborg.steps.tries import Tries, pause


@dataclass(frozen=True)
class Options:
    """What the command line asks of one backup run."""

    hosts: Sequence[str] = ()
    exclude: Sequence[str] = ()
    fail_fast: bool = False
    allow_partial: bool = False
    dry_run: bool = False


def backup(context: Context, options: Options) -> Report:
    """Back up the selected hosts. Raises UsageError before anything starts."""
    hosts = select_hosts(context.config, options.hosts, options.exclude)
    begun = begin(context, "backup")
    oldest = max((host.max_age for host in hosts), default=0)
    past = look_back(context.runs, begun.started, context.config.prune_every, oldest)
    hosts = _ordered(hosts, past)
    partial_ok = options.allow_partial or context.config.allow_partial
    if options.dry_run:
        return begun.report((), _plan(begun, hosts))
    skipped = [
        Outcome("host", name, Status.SKIPPED, "excluded on the command line") for name in options.exclude
    ]
    fleet = _Fleet(begun, past, fail_fast=options.fail_fast)
    outcomes = fleet.back_up(hosts, skipped) or [nobody(context.config)]
    report = begun.report(outcomes, rule=partial(conclude, partial_ok=partial_ok))
    context.runs.save(report)
    return report


def _ordered(hosts: Sequence[Host], past: Past) -> tuple[Host, ...]:
    by_name = {host.name: host for host in hosts}
    return tuple(by_name[name] for name in longest_first(by_name, past.seconds))


def _plan(begun: Begun, hosts: Sequence[Host]) -> list[str]:
    config = begun.context.config
    at_once = min(config.parallel, len(hosts))
    lines = [
        f"back up {h.name} ({h.endpoint}) into {config.storage.dataset_of(h.name)} {_as(begun, h)}"
        for h in hosts
    ]
    return [*lines, f"{counted(len(hosts), 'host')}, {at_once} at once"]


def _as(begun: Begun, host: Host) -> str:
    return "by its own borgmatic" if host.reverse else f"as {archive_name(host, begun.started)}"


@dataclass(frozen=True)
class _Fleet:
    """All hosts of one run."""

    begun: Begun
    past: Past
    fail_fast: bool

    def back_up(self, hosts: Sequence[Host], outcomes: list[Outcome]) -> list[Outcome]:
        """Every host in a thread of its own, `parallel` at once; each outcome is saved when it is known,
        so that a run that gets killed loses no finished host."""
        context = self.begun.context
        try:
            datasets = _datasets(context)
        except ZborgError as error:
            return [*outcomes, *(outcome_of("host", host.name, error) for host in hosts)]
        self._announce(hosts)
        checks = Checks.gather(self.begun)
        waiting = list(hosts)
        running: set[Future[Outcome]] = set()
        with ThreadPoolExecutor(max_workers=context.config.parallel) as pool:
            while waiting or running:
                while waiting and len(running) < context.config.parallel:
                    running.add(pool.submit(self._one, waiting.pop(0), datasets, checks))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                outcomes += [future.result() for future in done]
                context.runs.save(self.begun.report(outcomes))
                if stop := self._reason_to_stop(outcomes):
                    outcomes += [Outcome("host", h.name, Status.SKIPPED, stop) for h in waiting]
                    waiting = []
        return outcomes

    def _announce(self, hosts: Sequence[Host]) -> None:
        """Who shows the work can tell from this what is still to come."""
        expected = {host.name: self.past.seconds.get(host.name) for host in hosts}
        parallel = self.begun.context.config.parallel
        self.begun.context.emit(
            Event("planned", self.begun.command, data={"expected": expected, "parallel": parallel})
        )

    def _reason_to_stop(self, outcomes: Sequence[Outcome]) -> str:
        if any(outcome.status is Status.INTERRUPTED for outcome in outcomes):
            return "not started: interrupted"
        if self.fail_fast and any(outcome.status.bad for outcome in outcomes):
            return "not started: --fail-fast"
        return ""

    def _one(self, host: Host, datasets: Mapping[str, Dataset], checks: Checks) -> Outcome:
        """One host, whatever happens to it, as an outcome: no host ends the night of the others."""
        context = self.begun.context
        try:
            context.emit(Event("started", host.name))
            pause(self.begun, host, random.uniform(0, context.config.jitter))
            made = self._under_lock(host, datasets, checks)
            outcome = excuses.judged(host, made, self.past.since.get(host.name), context.clock())
        except Exception as error:
            outcome = outcome_of("host", host.name, error)
        # The run may go on for hours with others: the outcome has its own time.
        outcome = replace(outcome, data={**outcome.data, "finished": moment(context.clock())})
        context.emit(Event("finished", host.name, outcome.message, {"status": outcome.status.value}))
        return outcome

    def _under_lock(self, host: Host, datasets: Mapping[str, Dataset], checks: Checks) -> Outcome:
        context = self.begun.context
        with context.locks.hold(f"host-{host.name}") as lock:
            home = _home(context, host, datasets)
            if host.reverse:
                tries = Tries(self.begun, host)
                return tries.persistently(
                    lambda _: ReverseBackup(self.begun, tries.limited(), lock).run(home)
                )
            work = HostBackup(self.begun, host, lock, home)
            made = checks.judged(host, work.run())
            return work.pruned(made) if self._is_to_prune(made) else made

    def _is_to_prune(self, made: Outcome) -> bool:
        """An archive that is doubted must not push the others out."""
        last, every = self.past.pruned.get(made.subject), self.begun.context.config.prune_every
        due = prune_is_due(last, self.begun.started, every)
        return due and made.status.good and "doubt" not in made.data


def _datasets(context: Context) -> dict[str, Dataset]:
    root = context.config.storage.dataset
    found = {dataset.name: dataset for dataset in context.zfs.datasets(root)}
    if not found:
        raise missing(context.zfs, root, "", "zborg init")
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
