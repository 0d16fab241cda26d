"""backup: one borg archive per host, several hosts at once.

A host is good only if the server saw a new commit in this run, never by the client's word alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from zborg.borg.confine import confine
from zborg.borg.log import BorgLog, judge, statistics
from zborg.borg.repository import entries, last_transactions, left_by_init
from zborg.errors import Conflict, ZborgError
from zborg.model import Dataset, Event, Host, Outcome, Report, State, Status
from zborg.model.words import counted, moment
from zborg.state.locks import Lock
from zborg.steps.checks import Checks, check_room
from zborg.steps.context import (
    Begun,
    Context,
    begin,
    check_place,
    conclude,
    missing,
    nobody,
    outcome_of,
    select_hosts,
)
from zborg.steps.reverse import ReverseBackup


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
    partial_ok = options.allow_partial or context.config.allow_partial
    if options.dry_run:
        return begun.report((), _plan(begun, hosts))
    skipped = [
        Outcome("host", name, Status.SKIPPED, "excluded on the command line") for name in options.exclude
    ]
    outcomes = _in_parallel(begun, hosts, skipped, fail_fast=options.fail_fast) or [nobody(context.config)]
    report = begun.report(outcomes, rule=partial(conclude, partial_ok=partial_ok))
    context.runs.save(report)
    return report


def _plan(begun: Begun, hosts: Sequence[Host]) -> list[str]:
    config = begun.context.config
    at_once = min(config.parallel, len(hosts))
    lines = [
        f"back up {h.name} ({h.endpoint}) into {config.storage.dataset_of(h.name)} {_as(begun, h)}"
        for h in hosts
    ]
    return [*lines, f"{counted(len(hosts), 'host')}, {at_once} at once"]


def _as(begun: Begun, host: Host) -> str:
    return "by its own borgmatic" if host.reverse else f"as {_archive(begun, host)}"


def _archive(begun: Begun, host: Host) -> str:
    return f"{host.name}-{begun.started:%Y-%m-%dT%H%M%SZ}"


def _in_parallel(
    begun: Begun, hosts: Sequence[Host], outcomes: list[Outcome], *, fail_fast: bool
) -> list[Outcome]:
    """Every host in a thread of its own, `parallel` at once; each outcome is saved when it is known,
    so that a run that gets killed loses no finished host."""
    try:
        datasets = _datasets(begun.context)
    except ZborgError as error:
        return [*outcomes, *(outcome_of("host", host.name, error) for host in hosts)]
    waiting = list(hosts)
    running: dict[Future[Outcome], Host] = {}
    checks = Checks.gather(begun)
    with ThreadPoolExecutor(max_workers=begun.context.config.parallel) as pool:
        while waiting or running:
            while waiting and len(running) < begun.context.config.parallel:
                host = waiting.pop(0)
                running[pool.submit(_one, begun, host, datasets, checks)] = host
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                outcomes.append(future.result())
                begun.context.runs.save(begun.report(outcomes))
            if stop := _reason_to_stop(outcomes, fail_fast=fail_fast):
                outcomes += [Outcome("host", h.name, Status.SKIPPED, stop) for h in waiting]
                waiting = []
    return outcomes


def _datasets(context: Context) -> dict[str, Dataset]:
    root = context.config.storage.dataset
    found = {dataset.name: dataset for dataset in context.zfs.datasets(root)}
    if not found:
        raise missing(context.zfs, root, "", "zborg init")
    return found


def _reason_to_stop(outcomes: Sequence[Outcome], *, fail_fast: bool) -> str:
    if any(outcome.status is Status.INTERRUPTED for outcome in outcomes):
        return "not started: interrupted"
    if fail_fast and any(outcome.status.bad for outcome in outcomes):
        return "not started: --fail-fast"
    return ""


def _one(begun: Begun, host: Host, datasets: Mapping[str, Dataset], checks: Checks) -> Outcome:
    """One host, whatever happens to it, as an outcome: no host ends the night of the others."""
    try:
        begun.context.emit(Event("started", host.name))
        with begun.context.locks.hold(f"host-{host.name}") as lock:
            way = ReverseBackup if host.reverse else _HostBackup
            outcome = way(begun, host, lock).run(_home(begun.context, host, datasets))
        outcome = checks.judged(host, outcome)
    except Exception as error:
        outcome = outcome_of("host", host.name, error)
    # The run may go on for hours with others: the outcome has its own time.
    outcome = replace(outcome, data={**outcome.data, "finished": moment(begun.context.clock())})
    begun.context.emit(Event("finished", host.name, outcome.message, {"status": outcome.status.value}))
    return outcome


def _home(context: Context, host: Host, datasets: Mapping[str, Dataset]) -> str:
    """The mountpoint of the host's dataset. An unmounted one would mean a new repository on the
    root disk and a history apparently lost, so nothing is ever served from there."""
    name = context.config.storage.dataset_of(host.name)
    dataset = datasets.get(name)
    if dataset is None:
        raise ZborgError(f"the dataset {name} does not exist", f"zborg init {host.name}")
    if not dataset.mounted or not dataset.mountpoint:
        raise ZborgError(f"the dataset {name} is not mounted; nothing was sent", f"zfs mount {name}")
    check_place(dataset, datasets.get(context.config.storage.dataset))
    check_room(dataset, context.config.storage)
    return dataset.mountpoint


@dataclass
class _HostBackup:
    """The verbs of one host's backup in turn: init when there is no repository, then create."""

    begun: Begun
    host: Host
    lock: Lock

    def run(self, home: str) -> Outcome:
        before = self._last(home)
        if not before and self._is_new(home):
            if (outcome := self._verb("init", self.host.name)).status.bad:
                return replace(outcome, message=f"init: {outcome.message}")
            before = self._last(home)
        # Nothing that was ever backed up is served before this.
        confine(self.begun.context.storage, [home], self.begun.context.config.storage.user)
        archive = _archive(self.begun, self.host)
        outcome = self._verb("create", self.host.name, archive)
        return self._proven(outcome, archive, before, self._last(home))

    def _last(self, home: str) -> int:
        return last_transactions(self.begun.context.storage, [home]).get(home, 0)

    def _is_new(self, home: str) -> bool:
        """Whether the repository is to be made. No commit was ever seen here; Conflict if that is odd.

        What an init left that was killed is cleared, but only if the host was never seen good and says
        itself that it has no repository, and the dataset holds no more than an init writes.
        """
        told = self.begun.context.tunnel.ask(self.host, "version").splitlines()
        self._check_name(told)
        storage, unknown = self.begun.context.storage, "initialised no" in told
        found = entries(storage, home)
        if "config" in found and not unknown:
            return False  # killed between its init and its first commit
        self._refuse_to_replace()
        if found and not (unknown and left_by_init(storage, home, found)):
            name = self.begun.context.config.storage.dataset_of(self.host.name)
            raise Conflict(
                f"{name} holds files that are not this host's repository: {', '.join(found[:5])}",
                f"an older repository is kept by: zfs rename {name} {name}-older, then zborg init",
            )
        if found:
            storage.run(["rm", "-rf", "--", *(f"{home}/{name}" for name in found)])
        return True

    def _check_name(self, told: Sequence[str]) -> None:
        """A table that was renamed in zborg.toml alone would begin a second history."""
        own = next((line.removeprefix("name ") for line in told if line.startswith("name ")), "")
        if own != self.host.name:
            raise Conflict(
                f"zborg.toml says {self.host.name}, the host calls itself {own or 'nothing'}",
                f"rename the table to [hosts.{own}], or set name in the host's agent.conf",
            )

    def _refuse_to_replace(self) -> None:
        """A new repository only in a dataset of a host that was never seen good."""
        name = self.begun.context.config.storage.dataset_of(self.host.name)
        if any(s.state is State.OK for s in self.begun.context.zfs.snapshots(name)):
            raise Conflict(
                f"{name} holds no commit but has good snapshots: its repository was lost",
                f"restore it from the newest one: zfs rollback, or zborg restore list {self.host.name}",
            )

    def _verb(self, *words: str) -> Outcome:
        log = BorgLog()

        def listen(line: str) -> None:
            if counts := log.feed(line):
                self.begun.context.emit(Event("progress", self.host.name, data=counts))

        status = self.begun.context.tunnel.verb(self.host, words, listen, adopt=self.lock.adopt)
        judged, message, remedy = judge(status, log)
        data: dict[str, Any] = dict(statistics(log.json()))
        if log.clocks:
            data["clocks"] = [moment(at) for at in log.clocks]  # the host's and ours
        if log.warnings:
            data["warnings"] = log.warnings
        return Outcome("host", self.host.name, judged, message, remedy, data)

    def _proven(self, outcome: Outcome, archive: str, before: int, after: int) -> Outcome:
        data = {**outcome.data, "archive": archive, "transaction": after}
        if not outcome.status.good:
            return replace(outcome, data={**outcome.data, "transaction": after})
        if after <= before:
            message = "the host says good, but the server saw no commit in this run"
            return replace(outcome, status=Status.FAILED, message=message, data=data)
        if outcome.data.get("files") == 0:
            message, remedy = "the archive is empty", "look at the paths in /etc/zborg/agent.conf on the host"
            return replace(outcome, status=Status.FAILED, message=message, remedy=remedy, data=data)
        return replace(outcome, data=data)
