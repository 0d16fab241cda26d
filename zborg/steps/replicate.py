"""replicate: the snapshots a target lacks, oldest first, one stream per snapshot, never forced.

What happens to one dataset is in `sending`, to one stream in `transfer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from zborg.errors import Exit, Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Event, Outcome, Report, Status, Target
from zborg.planning.replica import DatasetPlan, Divergence, ReplicationPlan
from zborg.steps.checks import ask_clock
from zborg.steps.context import Begun, Context, attempt, conclude, outcome_of, select_targets
from zborg.steps.sending import Diverged, Ends, idle, send

_NOT_STARTED = Interrupted("not started: interrupted")


def replicate(context: Context, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    """Bring the selected targets up to date. Raises UsageError before anything starts."""
    targets = select_targets(context.config, names)
    return attempt(
        context, "replicate", partial(_replicate, targets=targets, dry_run=dry_run), dry_run=dry_run
    )


def _replicate(begun: Begun, *, targets: Sequence[Target], dry_run: bool) -> Report:
    plans: list[str] = []
    outcomes: list[Outcome] = []
    foreseen: list[Outcome] = []
    for target in targets:
        if cancelled.is_set():
            outcomes.append(outcome_of("target", target.name, _NOT_STARTED))
            continue
        try:
            # One run per target: a second one's plan would be old before its turn came.
            with begun.context.locks.hold(f"target-{target.name}"):
                ends = Ends(begun, target, begun.context.zfs_of(target))
                plan = ends.compare().plan
                plans += plan.lines()
                if dry_run:
                    foreseen += [_conflict(ends, conflict) for conflict in plan.conflicts]
                else:
                    outcomes += ask_clock(target.name, ends.far, begun.context.clock)
                    outcomes += _execute(ends, plan)
        except ZborgError as error:
            outcomes.append(outcome_of("target", target.name, error))
    if not targets:
        outcomes.append(Outcome("target", "targets", Status.SKIPPED, "none in zborg.toml"))
    return begun.report(outcomes, plans, rule=partial(_conclude, foreseen=foreseen))


def _conclude(outcomes: Sequence[Outcome], *, foreseen: Sequence[Outcome]) -> tuple[Status, Exit]:
    """A dry run shows its conflicts in the plan, and ends as they would. A copy that is kept is worth a
    look, but it is nothing that was done: where all else failed the run failed."""
    tried = [one for one in outcomes if one.status is not Status.WARNING]
    status, code = conclude([*tried, *foreseen])
    return (Status.WARNING, code) if status is Status.OK and len(tried) < len(outcomes) else (status, code)


def _execute(ends: Ends, plan: ReplicationPlan) -> Iterator[Outcome]:
    for conflict in plan.conflicts:
        yield _conflict(ends, conflict)
    for name in plan.kept:
        subject = f"{ends.target.name}:{name}"
        out = f"{name.partition('/')[0]}/{name.rpartition('/')[2]}-kept"
        mend = f"on {ends.target.name}: zfs rename -u {name} {out}, or zfs destroy -r {name} when it may go"
        yield Outcome("replica", subject, Status.WARNING, "is no longer on the source; kept", mend)
    for one in plan.datasets:
        yield _one(ends, one)


def _conflict(ends: Ends, conflict: Divergence) -> Outcome:
    """Both sides, in full: whoever decides needs to see them."""
    return Outcome(
        "replica",
        f"{ends.target.name}:{conflict.target.name}",
        Status.CONFLICT,
        f"{conflict.kind.value}: {conflict.message}; nothing was touched",
        conflict.remedy,
        {"conflict": conflict.kind.value, "sides": conflict.lines()[2:4]},
    )


def _one(ends: Ends, plan: DatasetPlan) -> Outcome:
    context, subject = ends.begun.context, f"{ends.target.name}:{plan.target}"
    if not plan.steps:
        return idle(subject, plan)
    if cancelled.is_set():
        return outcome_of("replica", subject, _NOT_STARTED)
    context.emit(Event("started", subject))
    try:
        with context.locks.hold(f"dataset-{plan.source.replace('/', ':')}") as lock:
            outcome = send(ends, plan.source, subject, lock)
    except Diverged as error:
        outcome = _conflict(ends, error.divergence)
    except ZborgError as error:
        outcome = outcome_of("replica", subject, error)
    context.emit(Event("finished", subject, outcome.message))
    return outcome
