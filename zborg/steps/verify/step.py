"""verify: read whole repositories, compare every sealed object with the ledger, and let borg check them.

A share of them each night, so that all are read within `verify_every`. An off-site's own zborg does the same
with the copies, by the ledger that came with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from zborg.borg.storage.reader import Unreadable
from zborg.errors import Busy, Interrupted, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Outcome, Report, Snapshot, Status
from zborg.model.events import Finished, Started, Warned
from zborg.model.ledger.entries import AUDIT, Entry
from zborg.model.machines import LEDGER
from zborg.model.results import VerifiedHost
from zborg.model.text.remedy import command
from zborg.model.text.units import counted
from zborg.planning.rotate.hold_tags import keep_tag
from zborg.planning.verify.expected import Expected, expected
from zborg.planning.verify.judge import compare
from zborg.planning.verify.share import due
from zborg.state.frozen import Freeze
from zborg.steps.context import StepRun, missing, outcome_of, recording, select_hosts, select_targets
from zborg.steps.ledger.begun import is_begun
from zborg.steps.ledger.store import NoLedger, record
from zborg.steps.offsite.published_report import publish
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import Place, chosen, clear_stale, scratch_host
from zborg.steps.verify.elsewhere import reported
from zborg.steps.verify.last import KIND, last_of
from zborg.steps.verify.reading import Origins, Read, read
from zborg.steps.verify.records import Records, own, received
from zborg.steps.verify.verdict import Judged, judged

_OWNER = "verify"  # of the hold


@dataclass(frozen=True)
class Request:
    """`at`: a target's name, or which snapshot of the one host that is named."""

    hosts: Sequence[str] = ()
    at: str = ""


@dataclass(frozen=True)
class _Case:
    """One host's snapshot that is to be read; `expected` None: no audit of it is in the ledger."""

    host: str
    place: Place
    mounted: str  # where its dataset is mounted
    snapshots: Sequence[Snapshot]  # the oldest first
    snapshot: Snapshot
    expected: Expected | None


def verify(run: StepRun, request: Request = Request()) -> Report:  # noqa: B008  # frozen
    """Every named host, none named: all. Raises UsageError for an unknown host, target or snapshot."""
    if request.at in {target.name for target in run.context.config.targets}:
        (target,) = select_targets(run.context.config, [request.at])
        return run.report([reported(target, run.context.runs, run.context.clock())])
    if request.at and len(request.hosts) != 1:
        raise UsageError(
            f"--at {request.at}: is no target, and a snapshot is of one host",
            "name that host too, or one of the targets of zborg.toml alone",
        )
    return publish(run, _verify(run, request))


def nightly(run: StepRun) -> Report:
    """Tonight's share, as a part of the night; nothing is recorded when there is none."""
    config, nothing = run.context.config, replace(run.report([]), command=KIND)
    if not (is_begun(config) or config.storage.received):
        return nothing
    try:
        names = _names(run, ())
        share = _due(run, names) and _due(run, _records(run, names).known)
    except NoLedger as error:
        return run.part(KIND).report([Outcome("step", KIND, Status.SKIPPED, error.message)])
    except ZborgError as error:
        return run.part(KIND).recorded([outcome_of("step", KIND, error)])
    return verify(run.part(KIND), Request(share)) if share else nothing


@recording
def _verify(run: StepRun, request: Request) -> Report:
    root = run.context.config.storage.dataset
    datasets = {one.name: one for one in run.context.storage.zfs.datasets(root)}
    if not datasets:
        raise missing(run.context.storage.zfs, root, "", "zborg init")
    if not run.dry_run:
        _clear(run)
    names = _names(run, request.hosts)
    records = _records(run, names)
    history = records.of([name for name in names if name in records.known])
    ready = [_case(run, name, datasets, history.get(name, ()), request.at) for name in names]
    cases = [one for one in ready if isinstance(one, _Case)]
    if run.dry_run:
        return run.planned(f"read all of {one.snapshot.full}, and let borg check a clone" for one in cases)
    return run.report([one if isinstance(one, Outcome) else _Host(run, one).verified() for one in ready])


def _names(run: StepRun, wanted: Sequence[str]) -> list[str]:
    """Of an off-site the hosts whose copies are there; it has no table of them."""
    config = run.context.config
    if not config.storage.received:
        return [host.name for host in select_hosts(config, wanted)]
    root = config.storage.dataset
    below = [one.name.removeprefix(f"{root}/") for one in run.context.storage.zfs.datasets(root)]
    there = [name for name in below if "/" not in name and name not in (root, LEDGER)]
    if unknown := [name for name in wanted if name not in there]:
        raise UsageError(
            f"no copy of {', '.join(unknown)} is here", f"there are: {', '.join(there) or 'none'}"
        )
    return [name for name in there if not wanted or name in wanted]


def _records(run: StepRun, names: Sequence[str]) -> Records:
    return received(run) if run.context.config.storage.received else own(run, names)


def _due(run: StepRun, names: Collection[str]) -> list[str]:
    """Of these hosts. One that could not be read waits for its turn, and `status` shows it meanwhile."""
    last = last_of(run.context.runs, names)
    tried = {name: last.tried.get(name) for name in names}
    return list(due(tried, run.context.config.verify_every, run.started, last.share))


def _clear(run: StepRun) -> None:
    """The clones of verifications that were killed: those of whose host nobody has the lock."""
    storage, config = run.context.storage, run.context.config.storage
    left = {scratch_host(one.name) for one in storage.zfs.datasets(config.scratch)} - {""}
    for name in sorted(left):
        try:
            with run.context.locks.hold(restore_lock(name)):
                clear_stale(run, Place(storage, config.dataset_of(name), name))
        except Busy:
            continue  # somebody is at work with it
        except ZborgError as error:
            run.context.emit(Warned(name, f"what a killed run left was not removed: {error.message}"))


def _case(
    run: StepRun, name: str, datasets: Mapping[str, Dataset], history: Sequence[Entry], at: str
) -> _Case | Outcome:
    dataset = datasets.get(run.context.config.storage.dataset_of(name))
    if dataset is None:
        words = f"{run.context.config.storage.dataset_of(name)} does not exist: nothing is read"
        return Outcome(KIND, name, Status.SKIPPED, words)
    place = Place(run.context.storage, dataset.name, name)
    if not any(one.kind == AUDIT for one in history):
        words, fix = "no audit of it is in the ledger yet: there is nothing to compare it with", ""
        if not run.context.config.storage.received:
            fix = command("zborg", "audit", name)
        return Outcome(KIND, name, Status.SKIPPED, words, fix)
    try:
        snapshots = place.snapshots()
        snapshot = chosen(run, snapshots, at) if at else _newest_audited(snapshots, history)
    except UsageError as error:
        if at:
            raise
        return Outcome(KIND, name, Status.SKIPPED, error.message)
    except ZborgError as error:
        return outcome_of(KIND, name, error)
    mounted = dataset.mountpoint if dataset.mounted and dataset.mountpoint else ""
    known = expected(history, snapshot.guid, snapshot.created)
    return _Case(name, place, mounted, snapshots, snapshot, known)


def _newest_audited(snapshots: Sequence[Snapshot], history: Sequence[Entry]) -> Snapshot:
    """Of those that are left; the newest of all when none of them was audited."""
    audited = {str(one.table.get("snapshot", ("", ""))[1]) for one in history if one.kind == AUDIT}
    return next((one for one in reversed(snapshots) if one.guid in audited), snapshots[-1])


@dataclass(frozen=True)
class _Host:
    """One host's verification."""

    run: StepRun
    case: _Case

    def verified(self) -> Outcome:
        """Whatever happens to one, the others are read."""
        emit, host = self.run.context.emit, self.case.host
        if cancelled.is_set():
            return outcome_of(KIND, host, Interrupted("not read: interrupted"))
        emit(Started(host, f"reading all of {self.case.snapshot.full}"))
        try:
            outcome = self._outcome()
        except Exception as error:
            outcome = outcome_of(KIND, host, error)
        emit(Finished(host, outcome.message, outcome.status))
        return outcome

    def _outcome(self) -> Outcome:
        case = self.case
        with self.run.context.locks.hold(restore_lock(case.host)):
            found = read(self.run, case.place, case.snapshot, case.mounted, self._until)
            verdict = self._judged(found)
        if verdict.outcome.status is Status.DAMAGED:
            verdict = self._kept(verdict)
        self._record(verdict)
        return verdict.outcome

    @property
    def _until(self) -> int:
        return self.case.expected.audited.last if self.case.expected else -1

    def _judged(self, found: Read) -> Judged:
        case = self.case
        seen = found.seen
        compared = None
        origins: Mapping[str, Snapshot | None] = {}
        if case.expected and not isinstance(seen, Unreadable):
            compared = compare(case.expected, seen)
            older = [one for one in case.snapshots if one.createtxg < case.snapshot.createtxg]
            damaged = compared.damaged
            origins = Origins(self.run, case.place, older, case.mounted, damaged, self._until).newest()
        return judged(self.run, case.place, case.snapshot, case.mounted, (found, compared, origins))

    def _kept(self, verdict: Judged) -> Judged:
        """Nothing that somebody may need is rotated until a person has looked into it."""
        context, host, outcome = self.run.context, self.case.host, verdict.outcome
        found = outcome.result if isinstance(outcome.result, VerifiedHost) else VerifiedHost()
        if not context.config.storage.received and host not in context.frozen.now():
            what = (
                counted(found.damages, "damaged object")
                if found.damages
                else "borg check: " + found.structure
            )
            reason = f"verify: {what}, in {found.snapshot}"
            context.frozen.put(Freeze(host, reason, context.clock()))
        whole = found.whole_in
        if not whole:
            return verdict
        tag = keep_tag(_OWNER, None)
        try:
            context.storage.zfs.hold(tag, whole)
        except ZborgError as error:
            return verdict.adding(f"; that snapshot could not be held: {error.message}")
        return verdict.adding(f"; that snapshot is held now ({tag})")

    def _record(self, verdict: Judged) -> None:
        """In this server's own ledger; an off-site has none that it may write to."""
        context = self.run.context
        if context.config.storage.received or verdict.entry is None:
            return
        record(context, [verdict.entry])
