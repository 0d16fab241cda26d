"""replicate: the snapshots that a target does not have, oldest first, a stream for each, never forced.

What happens to one dataset is in dataset.py, to one stream in stream.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from zborg.errors import Exit, Interrupted
from zborg.interrupt import cancelled
from zborg.model import Outcome, Report, Status, Target
from zborg.model.events import Finished, Started
from zborg.model.results import Contradiction
from zborg.model.text.remedy import command, remedy
from zborg.planning.replicate.actions import SHOWN, DatasetPlan, Divergence, ReplicationPlan
from zborg.state.locks import SharedLocks
from zborg.steps.checks import ask_clock
from zborg.steps.context import StepRun, conclude, outcome_of, recording, select_targets
from zborg.steps.offsite.published_report import KIND, published
from zborg.steps.replicate.dataset import Diverged, idle, send
from zborg.steps.replicate.endpoints import Comparison, ReplicationPair

_AT_ONCE = 4
"""Datasets of one target. A small stream waits for round trips and transaction groups more than it sends."""
_NOT_STARTED = Interrupted("not started: interrupted")


@recording
def replicate(run: StepRun, names: Sequence[str] = ()) -> Report:
    """Bring the named targets up to date, none named: all. Raises UsageError before anything starts.

    All at once: a slow line to one must not make the others wait.
    """
    targets = select_targets(run.context.config, names)
    locks = run.context.locks.shared()
    with ThreadPoolExecutor(max_workers=len(targets) or 1) as pool:
        done = list(pool.map(partial(_target, run, locks), targets))
    outcomes = [outcome for one in done for outcome in one.outcomes]
    if not targets:
        outcomes.append(Outcome("target", "targets", Status.SKIPPED, "none in zborg.toml"))
    foreseen = [outcome for one in done for outcome in one.foreseen]
    plans = [line for one in done for line in one.plan]
    return run.report(outcomes, plans, rule=partial(_conclude, foreseen=foreseen))


@dataclass
class _Done:
    """What became of one target; `foreseen` are the conflicts that a dry run would end in."""

    plan: tuple[str, ...] = ()
    outcomes: list[Outcome] = field(default_factory=list)
    foreseen: list[Outcome] = field(default_factory=list)


def _target(run: StepRun, locks: SharedLocks, target: Target) -> _Done:
    done = _Done()
    if cancelled.is_set():
        done.outcomes.append(outcome_of("target", target.name, _NOT_STARTED))
        return done
    try:
        # One run per target: a second one's plan would be old before its turn came.
        with run.context.locks.hold(f"target-{target.name}"):
            pair = ReplicationPair(run, target, run.context.target(target).zfs)
            seen = pair.compare()
            done.plan = seen.plan.lines()
            if run.dry_run:
                done.foreseen += [_conflict(pair, conflict) for conflict in seen.plan.conflicts]
            else:
                done.outcomes += ask_clock(target.name, pair.far, run.context.clock)
                done.outcomes += published(target, seen.copies, run.context.clock())
                for outcome in _execute(pair, locks, seen):
                    done.outcomes.append(outcome)
    except Exception as error:
        done.outcomes.append(outcome_of("target", target.name, error))
    return done


def _conclude(outcomes: Sequence[Outcome], *, foreseen: Sequence[Outcome]) -> tuple[Status, Exit]:
    """A dry run shows its conflicts in the plan, and ends as they would.

    A copy that stays is worth a look, but like a report that a target published it is nothing that was done:
    where all else failed the run failed.
    """
    tried = [one for one in outcomes if one.status is not Status.WARNING and one.kind != KIND]
    status, code = conclude([*tried, *foreseen])
    warned = any(one.status is Status.WARNING for one in outcomes)
    return (Status.WARNING, code) if status is Status.OK and warned else (status, code)


def _execute(pair: ReplicationPair, locks: SharedLocks, seen: Comparison) -> Iterator[Outcome]:
    plan = seen.plan
    for conflict in plan.conflicts:
        yield _conflict(pair, conflict)
    yield from _kept(pair.target, plan)
    pair.hold_first(plan)
    # A limit is the target's, and every stream has a pv of its own.
    with ThreadPoolExecutor(max_workers=1 if pair.limit else _AT_ONCE) as pool:
        for outcomes in pool.map(partial(_family, pair, locks, seen), _families(pair, plan)):
            yield from outcomes
    pair.let_go()


def _kept(target: Target, plan: ReplicationPlan) -> Iterator[Outcome]:
    for name in plan.gone[:SHOWN]:
        fix = remedy(
            command("zfs", "destroy", "-r", name),
            first=f"on {target.name}, as root, when this copy may go; until then it stays:",
        )
        words = "is no longer on the source; kept"
        yield Outcome("replica", f"{target.name}:{name}", Status.WARNING, words, fix)
    if plan.more_gone:
        words = f"{plan.more_gone} more datasets there are not on the source; kept"
        fix = command("zborg", "replicate", "--verify", target.name)
        yield Outcome("replica", f"{target.name}:{target.dataset}", Status.WARNING, words, fix)


def _families(pair: ReplicationPair, plan: ReplicationPlan) -> list[list[DatasetPlan]]:
    """A dataset and all below it, parents first: a child cannot be received before its parent is whole."""
    found: dict[str, list[DatasetPlan]] = {}
    for one in plan.datasets:
        found.setdefault(pair.name_of(one.source).partition("/")[0], []).append(one)
    return list(found.values())


def _family(
    pair: ReplicationPair, locks: SharedLocks, seen: Comparison, plans: Sequence[DatasetPlan]
) -> list[Outcome]:
    return [_one(pair, locks, seen, plan) for plan in plans]


def _conflict(pair: ReplicationPair, conflict: Divergence) -> Outcome:
    """Both sides, in full: they are needed to decide."""
    return Outcome(
        "replica",
        f"{pair.target.name}:{conflict.target.name}",
        Status.CONFLICT,
        f"{conflict.kind.value}: {conflict.message}; nothing was touched",
        conflict.remedy,
        Contradiction(conflict=conflict.kind.value, sides=tuple(conflict.lines()[2:4])),
    )


def _one(pair: ReplicationPair, locks: SharedLocks, seen: Comparison, plan: DatasetPlan) -> Outcome:
    context, subject = pair.run.context, f"{pair.target.name}:{plan.target}"
    if not plan.steps:
        return idle(subject, plan)
    if cancelled.is_set():
        return outcome_of("replica", subject, _NOT_STARTED)
    context.emit(Started(subject))
    try:
        with locks.hold(f"dataset-{plan.source.replace('/', ':')}") as lock:
            outcome = send(pair, seen, plan, subject, lock)
    except Diverged as error:
        outcome = _conflict(pair, error.divergence)
    except Exception as error:  # a full disk here, a bug: the others go on, and are reported
        outcome = outcome_of("replica", subject, error)
    context.emit(Finished(subject, outcome.message))
    return outcome
