"""snapshot: all repository datasets at one instant, each marked with what its backup came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.borg.storage.repository import last_transactions
from zborg.errors import Conflict, ZborgError
from zborg.interrupt import cancelled
from zborg.model import (
    P_RUN,
    P_STATE,
    P_TRANSACTION,
    Dataset,
    Outcome,
    Report,
    Snapshot,
    SnapshotName,
    State,
    Status,
)
from zborg.model.results import Labelled, NoSnapshot, SnapshotTaken, backup_of
from zborg.model.storage.zfs import P_LABEL
from zborg.model.text.remedy import command, remedy
from zborg.planning import clocks
from zborg.planning.restore.select import check_label
from zborg.steps.checks import clock_warning
from zborg.steps.context import Context, StepRun, missing, outcome_of, recording

_LETTING_GO = timedelta(minutes=1)  # at most, between the end of a backup and the end of its lock


@dataclass(frozen=True)
class _Facts:
    """What is known before the snapshot is taken. States are per host; None: no backup since the last.

    `latest` is, by dataset, what the newest snapshot consists of, where no other was taken of it since: of
    what came after that `written` would not show.
    """

    datasets: tuple[Dataset, ...]
    newest: Snapshot | None
    latest: Mapping[str, Snapshot]
    states: Mapping[str, State | None]
    transactions: Mapping[str, int]
    alone: frozenset[datetime] = frozenset()  # the times in the names of snapshots of one dataset alone


@recording
def snapshot(run: StepRun, label: str | None = None) -> Report:
    """Take one atomic recursive snapshot, unless there is nothing new and nobody wants it labelled.

    A clock behind the newest one is a conflict, and none is taken. Raises UsageError for a bad label.
    """
    if label is not None:
        check_label(label)
    if run.context.config.storage.received:
        raise ZborgError(
            f"{run.context.config.storage.dataset} is received from another zborg, and takes no snapshots "
            "of its own: no increment could follow one",
            remedy("zborg run", first="an off-site rotates and scrubs what it received:"),
        )
    with run.context.locks.hold("snapshot"):
        facts = _gather(run)
        name = _name(run, facts)
        _check_clock(facts, name)
        reported = _check_storage_clock(run.context)
        quiet = not label and _is_quiet(run.context, facts)
        if run.dry_run:
            return run.planned([_unchanged(facts)] if quiet else _plan(run, facts, name, label or ""))
        taken = _skip(run, facts) if quiet else _take(run, facts, name, label or "")
        return run.report([*reported, *taken])


def _gather(run: StepRun) -> _Facts:
    context, storage = run.context, run.context.config.storage
    datasets = context.storage.zfs.datasets(storage.dataset)
    if not datasets:
        raise missing(context.storage.zfs, storage.dataset, "", "zborg init")
    # Of all datasets: somebody may have destroyed the root's own, which hold nothing. Not those of one
    # dataset alone, which audit and compact take: they have no run.
    found = context.storage.zfs.snapshots(storage.dataset)
    ours = [s for s in found if s.name and P_RUN in s.properties]
    newest = max(ours, key=lambda s: s.createtxg, default=None)
    since = newest.name.at if newest and newest.name else None
    last = {s.dataset: s for s in found}  # oldest first
    latest = {name: s for name, s in last.items() if newest and s.snapname == newest.snapname}
    committed = _transactions(context, datasets)
    of_all = {s.dataset: s for s in ours if newest and s.snapname == newest.snapname}
    marked_busy = {name for name, one in of_all.items() if one.state is State.BUSY}
    alone = {s.name.at for s in found if s.name and P_RUN not in s.properties}
    states = _states(context, since, committed, marked_busy)
    return _Facts(datasets, newest, latest, states, committed, frozenset(alone))


def _name(run: StepRun, facts: _Facts) -> SnapshotName:
    """Of now; a second later if a dataset has a snapshot of its own with this very name."""
    name = SnapshotName.of(run.started)
    if name.at in facts.alone:
        cancelled.wait(1.0)
        name = SnapshotName.of(run.context.clock())
    return name


def _states(
    context: Context, since: datetime | None, committed: Mapping[str, int], marked_busy: Container[str]
) -> dict[str, State | None]:
    """A running `borg serve` makes a host busy; else its last outcome since the last snapshot decides.

    Who is `marked_busy` there was just about to let go its lock, perhaps: that outcome was not counted yet.
    """
    storage, hosts = context.config.storage, context.config.hosts
    # Before the outcomes are read: a run writes down its own before it lets go its lock.
    held = {host.name for host in hosts if context.locks.is_held(f"host-{host.name}")}
    outcomes = context.runs.outcomes_since("backup", since)
    earlier = context.runs.outcomes_since("backup", since - _LETTING_GO if since else None)
    found = {
        host.name: (earlier if storage.dataset_of(host.name) in marked_busy else outcomes).get(host.name, [])
        for host in hosts
    }
    return {
        name: _state(some, committed.get(storage.dataset_of(name), 0), busy=name in held)
        for name, some in found.items()
    }


def _state(outcomes: Sequence[Outcome], committed: int, *, busy: bool) -> State | None:
    """What the dataset is marked with. Good only if what that backup committed is still there.

    A run that found the host busy or left it out says nothing of what another run came to.
    """
    if busy:
        return State.BUSY
    relevant = [outcome for outcome in outcomes if outcome.status is not Status.SKIPPED]
    decided = [outcome for outcome in relevant if outcome.status is not Status.BUSY]
    if not relevant:
        return None
    if not decided or not decided[0].status.good:
        return State.FAILED
    return State.OK if 0 < (backup_of(decided[0].result).transaction or 0) <= committed else State.FAILED


def _transactions(context: Context, datasets: Sequence[Dataset]) -> dict[str, int]:
    """Each dataset's last commit. Read before the snapshot: a later one is not promised to be in it."""
    root = context.config.storage.dataset
    homes = {d.mountpoint: d.name for d in datasets if d.mounted and d.mountpoint and d.name != root}
    found = last_transactions(context.storage.runner, list(homes))
    return {homes[home]: number for home, number in found.items()}


def _is_quiet(context: Context, facts: _Facts) -> bool:
    """Nothing was written anywhere, nothing is new, and no backup has a result to be marked with.

    `written` lags a transaction group, some seconds, behind: what borg committed counts as well.
    """
    if any(facts.states.values()):
        return False
    hosts = {context.config.storage.dataset_of(host) for host in facts.states}
    ledger = context.config.storage.ledger
    others = [dataset for dataset in facts.datasets if dataset.name != ledger]
    return all(_is_same(facts, dataset, marked=dataset.name in hosts) for dataset in others)


def _is_same(facts: _Facts, dataset: Dataset, *, marked: bool) -> bool:
    latest, number = facts.latest.get(dataset.name), facts.transactions.get(dataset.name)
    if latest is None or dataset.written:
        return False
    return not marked or number is None or latest.properties.get(P_TRANSACTION) == str(number)


def _unchanged(facts: _Facts) -> str:
    return f"nothing changed since {facts.newest.snapname if facts.newest else 'the last'}, so none is taken"


def _skip(run: StepRun, facts: _Facts) -> list[Outcome]:
    root = run.context.config.storage.dataset
    present = {dataset.name for dataset in facts.datasets}
    homes = [run.context.config.storage.dataset_of(host) for host in facts.states]
    skipped = Outcome("dataset", root, Status.SKIPPED, _unchanged(facts), result=NoSnapshot(snapshot=None))
    return [skipped, *(_without_dataset(name) for name in homes if name not in present)]


def _check_clock(facts: _Facts, name: SnapshotName) -> None:
    newest = facts.newest.name if facts.newest else None
    if newest is not None and name <= newest:
        raise Conflict(
            f"the clock says {name.at:%Y-%m-%d %H:%M:%S} UTC, but {newest} is already there",
            "set the clock; nothing was snapshotted",
        )


def _check_storage_clock(context: Context) -> list[Outcome]:
    """Names are by our clock, and ages by ZFS's: on another machine that is another clock."""
    if context.config.storage.endpoint is None:
        return []
    there, here = context.storage.zfs.clock(), context.clock()
    if words := clocks.apart("the storage", there, here, clocks.FAR):
        raise Conflict(f"{words}; nothing was snapshotted", clocks.REMEDY)
    return clock_warning("the storage", there, here)


def _plan(run: StepRun, facts: _Facts, name: SnapshotName, label: str) -> list[str]:
    storage = run.context.config.storage
    marks = [
        f"mark {storage.dataset_of(host)}: {state or 'no backup'}" for host, state in facts.states.items()
    ]
    called = f", labelled {label}" if label else ""
    return [f"snapshot {storage.dataset}@{name} and all below it, at once{called}", *marks]


def _take(run: StepRun, facts: _Facts, name: SnapshotName, label: str) -> list[Outcome]:
    storage, zfs = run.context.config.storage, run.context.storage.zfs
    # Run and label are written in the same transaction group. A snapshot without a state is never taken
    # for good, so being killed before the next line costs a mark and promises nothing.
    zfs.snapshot(storage.dataset, str(name), {P_RUN: run.id} | ({P_LABEL: label} if label else {}))
    present = {dataset.name for dataset in facts.datasets}
    outcomes = []
    for marks, names in _grouped(run, facts, present).items():
        try:
            zfs.set([f"{one}@{name}" for one in names], dict(marks))
        except ZborgError as error:
            outcomes += [outcome_of("dataset", one, error) for one in names]
    reported = {outcome.subject for outcome in outcomes}
    fine = [_outcome(facts, storage.dataset_of(host), state, name) for host, state in facts.states.items()]
    outcomes += [one for one in fine if one.subject in present and one.subject not in reported]
    lost = [one.subject for one in fine if one.subject not in present]
    named = [_labelled(storage.dataset, label)] if label else []
    return outcomes + [_without_dataset(name) for name in lost] + named


def _labelled(root: str, label: str) -> Outcome:
    words = f"labelled {label}, which names it and does not keep it: the policy rotates it like any other"
    place = remedy(command("zborg", "holds", "place", label), first="to hold it until you release it:")
    return Outcome("dataset", root, Status.OK, words, place, Labelled(label=label))


def _without_dataset(name: str) -> Outcome:
    """A warning only: its backup fails, and that is reported there. The others are to be replicated."""
    fix = command("zborg", "init", name.rpartition("/")[2])
    return Outcome("dataset", name, Status.WARNING, "does not exist: there is nothing to snapshot", fix)


def _grouped(run: StepRun, facts: _Facts, present: set[str]) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Datasets by the properties they get: one `zfs set` serves all that get the same."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for host, state in facts.states.items():
        dataset = run.context.config.storage.dataset_of(host)
        marks = {P_STATE: state.value} if state else {}
        if dataset in facts.transactions:
            marks[P_TRANSACTION] = str(facts.transactions[dataset])
        if dataset in present and marks:
            groups[tuple(marks.items())].append(dataset)
    return groups


def _outcome(facts: _Facts, dataset: str, state: State | None, name: SnapshotName) -> Outcome:
    result = SnapshotTaken(
        snapshot=f"{dataset}@{name}",
        state=state.value if state else None,
        transaction=facts.transactions.get(dataset),
    )
    words = f"{name}, marked {state.value}" if state else f"{name}, no backup since the last snapshot"
    return Outcome("dataset", dataset, Status.OK, words, result=result)
