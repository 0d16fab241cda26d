"""snapshot: all repository datasets at one instant, each marked with what its backup came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from zborg.borg.log import count
from zborg.borg.repository import last_transactions
from zborg.errors import Conflict, ZborgError
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
from zborg.planning import clocks
from zborg.steps.checks import clock_warning
from zborg.steps.context import Begun, Context, attempt, missing, outcome_of


@dataclass(frozen=True)
class _Facts:
    """What is known before the snapshot is taken. States are per host; None: no backup since the last."""

    datasets: tuple[Dataset, ...]
    newest: Snapshot | None
    states: Mapping[str, State | None]
    transactions: Mapping[str, int]


def snapshot(context: Context, *, dry_run: bool = False) -> Report:
    """Take one atomic recursive snapshot. A clock behind the newest one is a conflict, and none is taken."""
    return attempt(context, "snapshot", partial(_snapshot, dry_run=dry_run), dry_run=dry_run)


def _snapshot(begun: Begun, *, dry_run: bool) -> Report:
    if begun.context.config.storage.received:
        raise ZborgError(
            f"{begun.context.config.storage.dataset} is received from another zborg, and takes no snapshots "
            "of its own: no increment could follow one",
            "zborg rotate, zborg scrub and zborg status are an off-site's own commands",
        )
    with begun.context.locks.hold("snapshot"):
        facts = _gather(begun)
        name = SnapshotName.of(begun.started)
        _check_clock(facts, name)
        told = _check_storage_clock(begun.context)
        if dry_run:
            return begun.report((), _plan(begun, facts, name))
        return begun.report([*told, *_take(begun, facts, name)])


def _gather(begun: Begun) -> _Facts:
    context, storage = begun.context, begun.context.config.storage
    datasets = context.zfs.datasets(storage.dataset)
    if not datasets:
        raise missing(context.zfs, storage.dataset, "", "zborg init")
    # Of all datasets: somebody may have destroyed the root's own, which hold nothing.
    ours = [s for s in context.zfs.snapshots(storage.dataset) if s.name]
    newest = max(ours, key=lambda s: s.createtxg, default=None)
    since = newest.name.at if newest and newest.name else None
    committed = _transactions(context, datasets)
    return _Facts(datasets, newest, _states(context, since, committed), committed)


def _states(
    context: Context, since: datetime | None, committed: Mapping[str, int]
) -> dict[str, State | None]:
    """A running `borg serve` makes a host busy; else its last outcome since the last snapshot decides."""
    outcomes = context.runs.outcomes_since("backup", since)
    storage = context.config.storage
    return {
        host.name: _state(
            outcomes.get(host.name, []),
            committed.get(storage.dataset_of(host.name), 0),
            busy=context.locks.is_held(f"host-{host.name}"),
        )
        for host in context.config.hosts
    }


def _state(outcomes: Sequence[Outcome], committed: int, *, busy: bool) -> State | None:
    """What the dataset is marked with. Good only if what that backup committed is still there.

    A run that found the host busy or left it out says nothing of what another run came to.
    """
    if busy:
        return State.BUSY
    telling = [outcome for outcome in outcomes if outcome.status is not Status.SKIPPED]
    decided = [outcome for outcome in telling if outcome.status is not Status.BUSY]
    if not telling:
        return None
    if not decided or not decided[0].status.good:
        return State.FAILED
    return State.OK if 0 < count(decided[0].data, "transaction") <= committed else State.FAILED


def _transactions(context: Context, datasets: Sequence[Dataset]) -> dict[str, int]:
    """Each dataset's last commit. Read before the snapshot: a later one is not promised to be in it."""
    root = context.config.storage.dataset
    homes = {d.mountpoint: d.name for d in datasets if d.mounted and d.mountpoint and d.name != root}
    found = last_transactions(context.storage, list(homes))
    return {homes[home]: number for home, number in found.items()}


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
    there, here = context.zfs.clock(), context.clock()
    if words := clocks.apart("the storage", there, here, clocks.FAR):
        raise Conflict(f"{words}; nothing was snapshotted", clocks.REMEDY)
    return clock_warning("the storage", there, here)


def _plan(begun: Begun, facts: _Facts, name: SnapshotName) -> list[str]:
    storage = begun.context.config.storage
    marks = [
        f"mark {storage.dataset_of(host)}: {state or 'no backup'}" for host, state in facts.states.items()
    ]
    return [f"snapshot {storage.dataset}@{name} and all below it, at once", *marks]


def _take(begun: Begun, facts: _Facts, name: SnapshotName) -> list[Outcome]:
    storage, zfs = begun.context.config.storage, begun.context.zfs
    # The run is written in the same transaction group. A snapshot without a state is never taken for
    # good, so being killed before the next line costs a mark and promises nothing.
    zfs.snapshot(storage.dataset, str(name), {P_RUN: begun.run})
    present = {dataset.name for dataset in facts.datasets}
    outcomes = []
    for marks, names in _grouped(begun, facts, present).items():
        try:
            zfs.set([f"{one}@{name}" for one in names], dict(marks))
        except ZborgError as error:
            outcomes += [outcome_of("dataset", one, error) for one in names]
    told = {outcome.subject for outcome in outcomes}
    fine = [_outcome(facts, storage.dataset_of(host), state, name) for host, state in facts.states.items()]
    outcomes += [one for one in fine if one.subject in present and one.subject not in told]
    lost = [one.subject for one in fine if one.subject not in present]
    return outcomes + [_without_dataset(name) for name in lost]


def _without_dataset(name: str) -> Outcome:
    """A warning only: its backup fails, and that is told there. The others are to be replicated."""
    mend = f"zborg init {name.rpartition('/')[2]}"
    return Outcome("dataset", name, Status.WARNING, "does not exist: there is nothing to snapshot", mend)


def _grouped(begun: Begun, facts: _Facts, present: set[str]) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Datasets by the properties they get: one `zfs set` serves all that get the same."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for host, state in facts.states.items():
        dataset = begun.context.config.storage.dataset_of(host)
        marks = {P_STATE: state.value} if state else {}
        if dataset in facts.transactions:
            marks[P_TRANSACTION] = str(facts.transactions[dataset])
        if dataset in present and marks:
            groups[tuple(marks.items())].append(dataset)
    return groups


def _outcome(facts: _Facts, dataset: str, state: State | None, name: SnapshotName) -> Outcome:
    data: dict[str, Any] = {"snapshot": f"{dataset}@{name}", "state": state.value if state else None}
    if dataset in facts.transactions:
        data["transaction"] = facts.transactions[dataset]
    words = f"{name}, marked {state.value}" if state else f"{name}, no backup since the last snapshot"
    return Outcome("dataset", dataset, Status.OK, words, data=data)
