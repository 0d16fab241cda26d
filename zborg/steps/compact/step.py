"""compact: free what hosts have pruned. Nothing is freed without it, for an append-only client only adds.

`borg compact` makes final whatever was deleted, and a hostile host can delete. So each repository is audited
first, the snapshot before stays held for the time of `quarantine`, and afterwards all that was alive has to
be alive, or the repository is made again what it was.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zborg.errors import Busy, Interrupted, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Host, Outcome, Report, Status
from zborg.model.ledger.compacted import Approved
from zborg.model.text.remedy import command, remedy
from zborg.planning.compact.decide import due_tonight, next_try, unapproved
from zborg.planning.rotate.hold_tags import is_over
from zborg.state.ledger.compactions import Compactions as Record
from zborg.state.ledger.compactions import Quarantined
from zborg.steps.compact.facts import Subject, records_of
from zborg.steps.compact.host import HostCompaction, planned
from zborg.steps.compact.known import compactions, record_of, summed
from zborg.steps.compact.settle import KIND, let_go
from zborg.steps.context import StepRun, missing, outcome_of, recording, select_hosts
from zborg.steps.ledger.begun import folder_of, is_begun
from zborg.steps.ledger.store import LOCK, NoLedger, opened

_QUARANTINE = "quarantine"  # kind of an outcome: that its time is over says nothing of the last compaction


@dataclass(frozen=True)
class Request:
    """Which hosts, none named: all; and transactions that a person agrees to lose, of one host."""

    hosts: Sequence[str] = ()
    approve: Sequence[int] = ()


@recording
def compact(run: StepRun, request: Request = Request()) -> Report:  # noqa: B008  # frozen
    """Every host that can give something back. Raises UsageError for an unknown host or transaction."""
    context = run.context
    hosts = select_hosts(context.config, request.hosts)
    if request.approve and len(request.hosts) != 1:
        raise UsageError(
            "--approve needs the name of one host: transactions are counted by repository", "zborg status"
        )
    if context.config.storage.received:
        raise ZborgError(
            f"{context.config.storage.dataset} is received from another zborg: it is compacted there",
            remedy("zborg run", first="an off-site rotates and scrubs what it received:"),
        )
    if not is_begun(context.config):
        raise NoLedger(str(folder_of(context.config)))
    if request.approve:
        _approve(run, hosts[0], request.approve)
    return _report(run, hosts, request)


def nightly(night: StepRun) -> Report:
    """The same as a part of the night, for the hosts whose turn it is; no run of its own for nobody."""
    config = night.context.config
    if is_begun(config) and config.compact_every:  # else audit says what is missing
        records = records_of(night.context)
        known = {host.name: record_of(records, host.name) for host in config.hosts}
        looked = {name: one.looked for name, one in known.items()}
        waiting = [name for name, one in known.items() if _waits(one, night)]
        names = due_tonight(looked, night.started, config.compact_every, waiting)
        if names or any(_over(record_of(records, name), night) for name in records.hosts()):
            return _due(night.part("compact"), [host for host in config.hosts if host.name in names])
    return replace(night.report([]), command="compact")


def _waits(record: Record, night: StepRun) -> bool:
    """Its last look failed, and the next one is not due. One that has begun is finished whatever was."""
    if record.begun or record.undeleting or not record.failed or record.tried is None:
        return False
    return night.started < next_try(record.failed, record.tried, night.context.config.compact_every)


@recording
def _due(run: StepRun, hosts: Sequence[Host]) -> Report:
    return _report(run, hosts, Request())


def _report(run: StepRun, hosts: Sequence[Host], request: Request) -> Report:
    root = run.context.config.storage.dataset
    datasets = {one.name: one for one in run.context.storage.zfs.datasets(root)}
    if not datasets:
        raise missing(run.context.storage.zfs, root, "", "zborg init")
    work = _Work(run, datasets, request)
    if run.dry_run:
        foreseen = [work.foreseen(host) for host in hosts]
        lines = [one for one in foreseen if isinstance(one, str)]
        return run.planned(lines, [one for one in foreseen if isinstance(one, Outcome)])
    ended = list(_ended_quarantines(run))
    outcomes = [*ended, *(work.one(host) for host in hosts)]
    return run.report([*outcomes, *_summary(run)])


@dataclass(frozen=True)
class _Work:
    run: StepRun
    datasets: Mapping[str, Dataset]
    request: Request

    def foreseen(self, host: Host) -> Outcome | str:
        """A line of the plan, or why nothing would be done."""
        try:
            found = self._of(host)
            if isinstance(found, Outcome):
                return found
            refused, facts = found.foreseen()
            if refused or facts is None:
                return refused or _not_mounted(host, "")
            return planned(host.name, facts)
        except ZborgError as error:
            return outcome_of(KIND, host.name, error)

    def one(self, host: Host) -> Outcome:
        """One host, whatever happens to it, as an outcome."""
        if cancelled.is_set():
            return outcome_of(KIND, host.name, Interrupted("not compacted: interrupted"))
        found = self._of(host)
        return found if isinstance(found, Outcome) else found.outcome()

    def _of(self, host: Host) -> HostCompaction | Outcome:
        name = self.run.context.config.storage.dataset_of(host.name)
        dataset = self.datasets.get(name)
        if dataset is None or not dataset.mounted or not dataset.mountpoint:
            return _not_mounted(host, f"{name} is not mounted" if dataset else f"{name} does not exist")
        subject = Subject(self.run.context, host, dataset)
        return HostCompaction(self.run, subject, bool(self.request.hosts), self.request.approve)


def _not_mounted(host: Host, words: str) -> Outcome:
    return Outcome(KIND, host.name, Status.SKIPPED, f"{words}: nothing is compacted")


def _approve(run: StepRun, host: Host, transactions: Sequence[int]) -> None:
    """Write down that a person agrees. Raises UsageError for a transaction that needs no approval."""
    context, now = run.context, run.context.clock()
    with context.locks.hold(LOCK):
        ledger = opened(context, context.storage.zfs.datasets(context.config.storage.ledger))
        pending = {one.transaction for one in unapproved(ledger.history()[host.name])}
        if unknown := [str(one) for one in transactions if one not in pending]:
            waiting = ", ".join(str(one) for one in sorted(filter(None, pending))) or "none"
            raise UsageError(
                f"{host.name}: no approval is needed for {', '.join(unknown)}, but for: {waiting}",
                command("zborg", "ledger", "show", host.name),
            )
        if not run.dry_run:
            by = os.environ.get("SUDO_USER") or getpass.getuser()
            ledger.append([Approved(host.name, run.id, now, one, by) for one in dict.fromkeys(transactions)])


def _summary(run: StepRun) -> Iterator[Outcome]:
    """What waits, what was freed, and what could be given back; nothing before there was any of it."""
    if found := summed(compactions(run.context.config)):
        words, result = found
        yield Outcome("compactions", run.context.config.storage.dataset, Status.OK, words, result=result)


def _ended_quarantines(run: StepRun) -> Iterator[Outcome]:
    """Snapshots that were held long enough: what their compaction freed may go with them."""
    context, records = run.context, records_of(run.context)
    for host in records.hosts():
        if not _over(record_of(records, host), run):
            continue
        try:
            with context.locks.hold(f"host-{host}"):
                record = records.of(host)
                over = _over(record, run)
                let_go(run, over)
                left = tuple(one for one in record.held if one not in over)
                records.put(host, replace(record, held=left))
        except Busy:
            continue  # tomorrow
        except ZborgError as error:
            yield outcome_of(_QUARANTINE, host, error)
            continue
        names = ", ".join(one.snapshot for one in over)
        yield Outcome(
            _QUARANTINE, host, Status.OK, f"the quarantine of {names} has ended: it is not held now"
        )


def _over(record: Record, run: StepRun) -> list[Quarantined]:
    """Held snapshots of a host whose quarantine has ended; none while a compaction of it has not."""
    return (
        []
        if record.begun or record.undeleting
        else [one for one in record.held if is_over(one.until.date(), run.started)]
    )
