"""rotate: destroy the snapshots that no rule keeps, dataset by dataset, never recursively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from zborg.errors import Conflict, Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import P_TARGET, Dataset, Outcome, Report, Snapshot, Status, Verdict
from zborg.model.report import DRY
from zborg.model.words import counted, moment, size
from zborg.planning.replica import Recorded
from zborg.planning.retention import RotatePlan, by_arrival, by_name, plan_rotation, recent
from zborg.state.frozen import Freeze
from zborg.steps.arrivals import arrivals, first_seen, give_up
from zborg.steps.context import Begun, Context, attempt, missing, outcome_of
from zborg.steps.freeze import alarmed, keep, mend, told
from zborg.steps.telling import tell

_Unreadable = Mapping[str, ZborgError]  # by dataset: a record of a target that says nothing


def rotate(context: Context, *, dry_run: bool = False) -> Report:
    """Apply the policy to the storage's snapshots; busy while one is being taken."""
    report = attempt(context, "rotate", partial(_rotate, dry_run=dry_run), dry_run=dry_run)
    return tell(context, report, dry_run=dry_run)


def _rotate(begun: Begun, *, dry_run: bool) -> Report:
    context, root = begun.context, begun.context.config.storage.dataset
    with context.locks.hold("snapshot"):
        datasets, snapshots = context.zfs.datasets(root), context.zfs.snapshots(root)
    if not datasets:
        raise missing(context.zfs, root, "", "zborg init")
    vetoes, unreadable = _vetoes(datasets, snapshots)
    frozen = {context.config.storage.dataset_of(host): one for host, one in alarmed(begun).items()}
    vetoes |= {s.guid: told(frozen[s.dataset]) for s in snapshots if s.dataset in frozen}
    received = context.config.storage.received
    if received:
        vetoes |= recent(snapshots, first_seen(begun, snapshots, dry_run=dry_run), begun.started)
    when = by_arrival if received else by_name
    plan = plan_rotation(snapshots, context.config.keep, begun.started, vetoes, when)
    if dry_run:
        return begun.report(_foreseen(begun, plan), plan.lines())
    keep(begun, {one.host: one for one in frozen.values()})
    outcomes = _standstill(begun, plan) or _execute(begun, plan, unreadable, frozen)
    if received:
        outcomes += [*give_up(begun, datasets), arrivals(context.config, snapshots, datasets, begun.started)]
    return begun.report(outcomes, plan.lines())


def _standstill(begun: Begun, plan: RotatePlan) -> list[Outcome]:
    """Why nothing at all is destroyed: "kept 40" of each dataset would look like all is well, for ever."""
    if plan.ahead:
        conflict = Conflict(
            f"the clock ({moment(begun.started)}) is behind the newest snapshot, {plan.ahead.full}; "
            "nothing was destroyed",
            "set the clock; was it a wrong clock that named the snapshot, then zfs rename that",
        )
        return [outcome_of("step", "rotate", conflict)]
    if begun.context.config.keep.empty:
        words = "no retention rule is set: nothing is ever destroyed"
        remedy = f"set one under [snapshots.keep] in {begun.context.config.path}"
        return [Outcome("step", "rotate", Status.WARNING, words, remedy)]
    return []


def _foreseen(begun: Begun, plan: RotatePlan) -> list[Outcome]:
    """What a dry run knows besides the plan: the bytes, for one command per dataset that loses something."""
    outcomes = [_would(begun, dataset, raws) for dataset, raws in plan.destroy.items()]
    total = sum(one.data.get("freed", 0) for one in outcomes)
    data = {"freed": total, DRY: True}
    whole = Outcome("step", "rotate", Status.SKIPPED, f"would free {size(total)} in all", data=data)
    return [*outcomes, whole] if outcomes else []


def _would(begun: Begun, dataset: str, raws: Sequence[str]) -> Outcome:
    try:
        freed = begun.context.zfs.freed(dataset, raws)
    except ZborgError as error:
        return replace(outcome_of("dataset", dataset, error), data={DRY: True})
    words = f"would destroy {counted(len(raws), 'snapshot')} and free {size(freed)}"
    data = {"destroy": list(raws), "freed": freed, DRY: True}
    return Outcome("dataset", dataset, Status.SKIPPED, words, data=data)


def _vetoes(datasets: Sequence[Dataset], snapshots: Sequence[Snapshot]) -> tuple[dict[str, str], _Unreadable]:
    """Why snapshots stay, whatever their holds say: each is the last common base of a target, or could be."""
    vetoes: dict[str, str] = {}
    unreadable: dict[str, ZborgError] = {}
    for dataset in datasets:
        try:
            vetoes |= _bases(dataset)
        except ZborgError as error:
            unreadable[dataset.name] = error
            vetoes |= {one.guid: error.message for one in snapshots if one.dataset == dataset.name}
    return vetoes, unreadable


def _bases(dataset: Dataset) -> dict[str, str]:
    records = {key: value for key, value in dataset.properties.items() if key.startswith(P_TARGET)}
    bases = {_base(dataset, key, value): key.removeprefix(P_TARGET) for key, value in records.items()}
    return {guid: f"last common snapshot with {target}" for guid, target in bases.items() if guid}


def _base(dataset: Dataset, key: str, value: str) -> str | None:
    try:
        return Recorded.parse(value).base
    except ValueError as error:
        raise ZborgError(
            f"{key} cannot be read: {error}", f"zfs inherit {key} {dataset.name}, then zborg replicate"
        ) from error


def _execute(
    begun: Begun, plan: RotatePlan, unreadable: _Unreadable, frozen: Mapping[str, Freeze]
) -> list[Outcome]:
    by_dataset: dict[str, list[Verdict]] = {}
    for verdict in plan.verdicts:
        by_dataset.setdefault(verdict.snapshot.dataset, []).append(verdict)
    outcomes = []
    for dataset, verdicts in by_dataset.items():
        # A single destroy may be too quick to notice the word to stop; all of them take hours.
        error = Interrupted("not started: interrupted") if cancelled.is_set() else unreadable.get(dataset)
        if error:
            outcomes.append(outcome_of("dataset", dataset, error))
        elif dataset in frozen:
            outcomes.append(_kept(dataset, verdicts, frozen[dataset]))
        else:
            outcomes.append(_one(begun, dataset, verdicts))
    return outcomes


def _kept(dataset: str, verdicts: Sequence[Verdict], freeze: Freeze) -> Outcome:
    words = f"kept all {len(verdicts)}: {told(freeze)}"
    return Outcome("dataset", dataset, Status.WARNING, words, mend(freeze), {"destroyed": [], "frozen": True})


def _one(begun: Begun, dataset: str, verdicts: Sequence[Verdict]) -> Outcome:
    doomed = [verdict.snapshot for verdict in verdicts if not verdict.keep]
    kept = f"kept {len(verdicts) - len(doomed)}"
    if not doomed:
        return Outcome("dataset", dataset, Status.OK, kept, data={"destroyed": []})
    try:
        with begun.context.locks.hold(f"dataset-{dataset.replace('/', ':')}"):
            # Identity is the guid: what was renamed or taken into use since the plan is left alone.
            names = begun.context.zfs.destroy(dataset, {one.raw: one.guid for one in doomed})
    except ZborgError as error:
        return outcome_of("dataset", dataset, error)
    return Outcome(
        "dataset",
        dataset,
        Status.OK,
        f"{kept}, destroyed {len(names)}",
        data={"destroyed": list(names)},
    )
