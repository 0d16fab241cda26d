"""rotate: destroy the snapshots that no rule keeps, dataset by dataset, never recursively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zborg.errors import Conflict, Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Outcome, Report, Status, Verdict
from zborg.model.results import Rotated
from zborg.model.text.remedy import remedy
from zborg.model.text.units import counted, moment, size
from zborg.planning.inventory import orphan_finding, orphaned
from zborg.planning.rotate.retention import RotatePlan, by_arrival, by_name, plan_rotation, recent
from zborg.planning.rotate.unreplicated import Judged, Retained, without
from zborg.state.frozen import Freeze
from zborg.steps.context import StepRun, missing, outcome_of, recording
from zborg.steps.inventory import orphans_of
from zborg.steps.offsite.arrivals import arrivals, first_seen, give_up
from zborg.steps.offsite.published_report import publish
from zborg.steps.restore.leftovers import clear_cloned, clear_killed
from zborg.steps.rotate.freeze import alarmed, describe, how_to_release, keep
from zborg.steps.rotate.target_bases import Bases, bases, behind, give_way, kept_too_long


@dataclass(frozen=True)
class _Facts:
    """What stands beside the plan: what replication needs, what it no longer gets, which hosts are frozen."""

    bases: Bases
    judged: Judged
    frozen: Mapping[str, Freeze]  # by dataset
    orphans: Mapping[str, str]  # by dataset the name that no host has


def rotate(run: StepRun) -> Report:
    """Apply the policy to the storage's snapshots; busy while one is being taken."""
    return publish(run, _rotate(run))


@recording
def _rotate(run: StepRun) -> Report:
    context, root = run.context, run.context.config.storage.dataset
    cleared = [] if run.dry_run else clear_killed(run)
    with context.locks.hold("snapshot"):
        datasets, snapshots = context.storage.zfs.datasets(root), context.storage.zfs.snapshots(root)
    if not datasets:
        raise missing(context.storage.zfs, root, "", "zborg init")
    if not run.dry_run and (more := clear_cloned(run, snapshots)):
        cleared += more
        snapshots = context.storage.zfs.snapshots(root)
    common = bases(datasets)
    judged = kept_too_long(run, common, snapshots)
    vetoes = common.vetoes(snapshots, judged.let_go)
    frozen = {context.config.storage.dataset_of(host): one for host, one in alarmed(run).items()}
    vetoes |= {s.guid: describe(frozen[s.dataset]) for s in snapshots if s.dataset in frozen}
    lost = orphans_of(context.config, [dataset.name for dataset in datasets])
    config = str(context.config.path)
    vetoes |= {s.guid: orphaned(lost[s.dataset], config) for s in snapshots if s.dataset in lost}
    received = context.config.storage.received
    if received:
        vetoes |= recent(snapshots, first_seen(run, snapshots), run.started)
    when = by_arrival if received else by_name
    free = without(snapshots, judged.let_go)
    plan = plan_rotation(free, context.config.keep, run.started, vetoes, when)
    if run.dry_run:
        return run.planned(plan.lines(), [*behind(run, common, judged), *_foreseen(run, plan)])
    keep(run, {one.host: one for one in frozen.values()})
    outcomes = _standstill(run, plan) or _execute(run, plan, _Facts(common, judged, frozen, lost))
    outcomes += [*behind(run, common, judged), *cleared]
    if received:
        outcomes += [*give_up(run, datasets), arrivals(run, snapshots, datasets)]
    return run.report(outcomes, plan.lines())


def _standstill(run: StepRun, plan: RotatePlan) -> list[Outcome]:
    """Why nothing at all is destroyed: "kept 40" of each dataset would look like all is well, for ever."""
    if plan.ahead:
        conflict = Conflict(
            f"the clock ({moment(run.started)}) is behind the newest snapshot, {plan.ahead.full}; "
            "nothing was destroyed",
            remedy("date -u", first="set this machine's clock; if it is right, rename that snapshot:"),
        )
        return [outcome_of("step", "rotate", conflict)]
    if run.context.config.keep.empty:
        words = "no retention rule is set: nothing is ever destroyed"
        advice = f"set one under [snapshots.keep] in {run.context.config.path}"
        return [Outcome("step", "rotate", Status.WARNING, words, advice)]
    return []


def _foreseen(run: StepRun, plan: RotatePlan) -> list[Outcome]:
    """What a dry run knows besides the plan: the bytes, for one command per dataset that loses something."""
    outcomes = [_would(run, dataset, snapnames) for dataset, snapnames in plan.destroy.items()]
    total = sum(one.result.freed or 0 for one in outcomes if isinstance(one.result, Rotated))
    result = Rotated(freed=total)
    whole = Outcome("step", "rotate", Status.SKIPPED, f"would free {size(total)} in all", result=result)
    return [*outcomes, whole] if outcomes else []


def _would(run: StepRun, dataset: str, snapnames: Sequence[str]) -> Outcome:
    try:
        freed = run.context.storage.zfs.freed(dataset, snapnames)
    except ZborgError as error:
        return outcome_of("dataset", dataset, error)
    words = f"would destroy {counted(len(snapnames), 'snapshot')} and free {size(freed)}"
    result = Rotated(destroy=tuple(snapnames), freed=freed)
    return Outcome("dataset", dataset, Status.SKIPPED, words, result=result)


def _execute(run: StepRun, plan: RotatePlan, facts: _Facts) -> list[Outcome]:
    by_dataset: dict[str, list[Verdict]] = {}
    for verdict in plan.verdicts:
        by_dataset.setdefault(verdict.snapshot.dataset, []).append(verdict)
    outcomes = []
    for dataset, verdicts in by_dataset.items():
        # A single destroy may be too quick to notice the word to stop; all of them take hours.
        stop = Interrupted("not started: interrupted") if cancelled.is_set() else None
        if error := stop or facts.bases.unreadable.get(dataset):
            outcomes.append(outcome_of("dataset", dataset, error))
        elif dataset in facts.frozen:
            outcomes.append(_kept(dataset, verdicts, facts.frozen[dataset]))
        elif dataset in facts.orphans:
            outcomes.append(_orphan(run, dataset, len(verdicts), facts.orphans[dataset]))
        else:
            outcomes.append(_one(run, dataset, verdicts, facts.judged.let_go))
    return outcomes


def _kept(dataset: str, verdicts: Sequence[Verdict], freeze: Freeze) -> Outcome:
    words = f"kept all {len(verdicts)}: {describe(freeze)}"
    result = Rotated(destroyed=(), frozen=True)
    return Outcome("dataset", dataset, Status.WARNING, words, how_to_release(freeze), result)


def _orphan(run: StepRun, dataset: str, number: int, name: str) -> Outcome:
    """Perhaps all that is left of a host whose table got lost."""
    found = orphan_finding(name, dataset, str(run.context.config.path))
    words, result = f"kept all {number}: {found.message}", Rotated(destroyed=(), orphan=name)
    return Outcome("dataset", dataset, found.level, words, found.remedy, result)


def _one(run: StepRun, dataset: str, verdicts: Sequence[Verdict], let_go: Sequence[Retained]) -> Outcome:
    doomed = [verdict.snapshot for verdict in verdicts if not verdict.keep]
    retained = f"kept {len(verdicts) - len(doomed)}"
    if not doomed:
        return Outcome("dataset", dataset, Status.OK, retained, result=Rotated(destroyed=()))
    try:
        with run.context.locks.hold(f"dataset-{dataset.replace('/', ':')}"):
            marked = give_way(run, doomed, let_go)
            # Identity is the guid: what was renamed or taken into use since the plan is left alone.
            names = run.context.storage.zfs.destroy(dataset, {one.snapname: one.guid for one in doomed})
    except ZborgError as error:
        return outcome_of("dataset", dataset, error)
    return Outcome(
        "dataset",
        dataset,
        Status.OK,
        f"{retained}, destroyed {len(names)}{marked}",
        result=Rotated(destroyed=tuple(names)),
    )
