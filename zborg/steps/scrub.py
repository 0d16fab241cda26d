"""scrub: verify the last scrub of every pool; start one and wait for it only on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from zborg.config import Config
from zborg.errors import Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Finding, Outcome, Pool, Report, Scrub, Status, Zfs
from zborg.model.events import Finished, Progress, Started
from zborg.model.results import PoolState, Result
from zborg.model.text.remedy import parse, remedy
from zborg.planning.observe.damage import damaged_in
from zborg.planning.observe.health import capacity_findings, scrub_findings, start_scrub
from zborg.steps.context import Context, StepRun, inspect, outcome_of, quietly, recording
from zborg.steps.offsite.published_report import publish

_LOOK_EVERY = 2.0  # seconds


@dataclass(frozen=True)
class Request:
    """What is done before all pools are looked at."""

    start: bool = False
    wait: bool = False


def scrub(run: StepRun, request: Request = Request()) -> Report:  # noqa: B008  # frozen
    """Verify. Findings of level failed end in exit 4, damage in 13. `--start` touches our pool only:
    the off-site's own zborg scrubs the off-site."""
    return publish(run, _scrub(run, request))


@recording
def _scrub(run: StepRun, request: Request) -> Report:
    ours = pool_of(run.context.config.storage.dataset)
    if run.dry_run:
        return run.planned(_plan(run, ours, request))
    if request.start:
        _start(run.context, ours)
    if request.wait:
        _wait(run, ours)
    return run.report(list(_verify(run)), rule=inspect)


def pool_of(dataset: str) -> str:
    """The pool of a dataset, by its name."""
    return dataset.split("/")[0]


def verified(context: Context) -> Report:
    """What every pool says now. Nothing is changed, and nothing saved."""
    run = quietly(context, "scrub")
    return run.report(list(_verify(run)), rule=inspect)


def _plan(run: StepRun, ours: str, request: Request) -> list[str]:
    limit = run.context.config.scrub_max_age // 86400
    lines = [f"start a scrub of {ours}"] if request.start else []
    lines += [f"wait until the scrub of {ours} has ended"] if request.wait else []
    pools = ", ".join(subject for subject, _, _ in _pools(run))
    return [*lines, f"verify that the last scrub of {pools} is at most {limit} days old and found no error"]


def _start(context: Context, pool: str) -> None:
    if context.storage.zfs.pool(pool).scrub is not Scrub.RUNNING:
        context.storage.zfs.scrub(pool)


def _wait(run: StepRun, name: str) -> None:
    """Scrubs take hours; nothing but an interruption ends the waiting early."""
    run.context.emit(Started(name))
    while (pool := run.context.storage.zfs.pool(name)).scrub is Scrub.RUNNING:
        run.context.emit(Progress(name, percent=pool.done * 100))
        if cancelled.wait(_LOOK_EVERY):
            raise Interrupted(f"stopped waiting; the scrub of {name} goes on")
    run.context.emit(Finished(name))


def _pools(run: StepRun) -> Iterator[tuple[str, Zfs, str]]:
    """(subject, adapter, our root there) of the storage and of every target."""
    context = run.context
    root = context.config.storage.dataset
    yield pool_of(root), context.storage.zfs, root
    for target in context.config.targets:
        yield f"{target.name}:{pool_of(target.dataset)}", context.target(target).zfs, target.dataset


def _verify(run: StepRun) -> Iterator[Outcome]:
    for subject, zfs, root in _pools(run):
        try:
            pool = _located(zfs, zfs.pool(pool_of(root)), root)
        except ZborgError as error:
            yield outcome_of("pool", subject, error)
            continue
        yield judged(subject, pool, run.context.config, run.context.clock())


def _located(zfs: Zfs, pool: Pool, root: str) -> Pool:
    """With the hosts whose repositories are damaged in place of the files."""
    if not pool.damaged:
        return pool
    return replace(pool, damaged=damaged_in(pool.damaged, zfs.datasets(root), root))


def judged(subject: str, pool: Pool, config: Config, now: datetime) -> Outcome:
    """A pool's findings as one outcome: the worst decides, all are shown."""
    found = (
        *scrub_findings([pool], config.scrub_max_age, now),
        *capacity_findings([pool], config.fullness),
    )
    worst = max(found, key=_severity)
    target, colon, _ = subject.rpartition(":")
    parts = [f for f in found if f.level is not Status.OK] or [worst]
    return Outcome(
        "pool",
        subject,
        worst.level,
        "; ".join(finding.message for finding in parts),
        _remedy(worst, target),
        pool_state(pool),
    )


def _remedy(finding: Finding, target: str) -> str:
    """As planning gave it for the pool's own machine; the storage's scrub is zborg's to start."""
    first, commands = parse(finding.remedy)
    if target and finding.remedy:
        there = f"on {target}, as root" + (f": {first}" if first else ":")
        return remedy(*commands, first=there)
    return "zborg scrub --start --wait" if commands == (start_scrub(finding.subject),) else finding.remedy


def _severity(finding: Finding) -> int:
    return (Status.OK, Status.WARNING, Status.FAILED, Status.DAMAGED).index(finding.level)


def pool_of_result(name: str, result: Result) -> Pool | None:
    """The pool that pool_state() wrote down, None for anything else."""
    if not isinstance(result, PoolState):
        return None
    try:
        scrub = Scrub(result.scrub)
    except ValueError:
        return None
    return Pool(
        name=name,
        health=result.health,
        scrub=scrub,
        finished=result.scan_ended,
        errors=result.errors,
        repaired=result.repaired,
        done=0.0,
        size=result.size,
        free=result.free,
        device_errors=result.device_errors,
        devices=result.devices,
        damaged=result.damaged,
    )


def pool_state(pool: Pool) -> PoolState:
    """A pool as reports have it."""
    return PoolState(
        health=pool.health,
        scrub=pool.scrub.value,
        scrub_finished=pool.finished if pool.scrub is Scrub.FINISHED else None,
        scan_ended=pool.finished,
        errors=pool.errors,
        repaired=pool.repaired,
        device_errors=pool.device_errors,
        devices=pool.devices,
        damaged=pool.damaged,
        size=pool.size,
        free=pool.free,
    )
