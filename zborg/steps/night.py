"""run: the whole night in order. It goes on after a partial backup; the worst exit code stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import inf

from zborg.errors import Exit, Interrupted
from zborg.interrupt import cancelled
from zborg.model import Outcome, Report, Status
from zborg.model.results import SnapshotTaken
from zborg.steps.audit.step import nightly
from zborg.steps.backup.step import Backup, Request
from zborg.steps.compact import step as compaction
from zborg.steps.context import StepRun, outcome_of
from zborg.steps.drill.step import nightly as drilled
from zborg.steps.inventory import vanished
from zborg.steps.offsite.witness import witness
from zborg.steps.replicate.step import replicate
from zborg.steps.rotate.step import rotate
from zborg.steps.scrub import scrub
from zborg.steps.snapshot import snapshot
from zborg.steps.verify.step import nightly as verified

# From harmless to what must not be overlooked.
_WORSE = (
    Exit.OK,
    Exit.PARTIAL,
    Exit.LOCKED,
    Exit.FAILED,
    Exit.BUG,
    Exit.CONFIG,
    Exit.CONFLICT,
    Exit.DAMAGE,
)
_TOGETHER = 1.0  # seconds; hosts that end at one moment share a snapshot, whose name is to the second
# What may stand beside exit 0 (--allow-partial), the worst first.
_ALLOWED = (Status.DAMAGED, Status.CONFLICT, Status.PARTIAL, Status.WARNING)


def night(run: StepRun, *, allow_partial: bool = False) -> Report:
    """Every step, each with a report of its own; this one gathers their outcomes."""
    context = run.context
    work: list[Backup] = []
    steps: dict[str, Callable[[], Report]] = {
        "inventory": lambda: _inventory(run),
        "backup": lambda: _backup(run, Request(allow_partial=allow_partial), work),
        "snapshot": lambda: snapshot(run.part("snapshot")),
        "audit": lambda: nightly(run.part("audit")),
        "rotate": lambda: rotate(run.part("rotate")),
        "replicate": lambda: replicate(run.part("replicate")),
        "compact": lambda: compaction.nightly(run),
        "verify": lambda: verified(run),
        "drill": lambda: drilled(run),
        "scrub": lambda: scrub(run.part("scrub")),
    }
    if not context.config.verify_every:
        del steps["verify"]
    if not context.config.drill_every:
        del steps["drill"]
    if context.config.storage.received:  # an off-site takes what comes, and sends nothing on
        steps = {"witness": lambda: witness(run.part("witness"))} | {
            name: step for name, step in steps.items() if name in ("rotate", "verify", "scrub")
        }
    reports = [_unless_stopped(run, name, step) for name, step in steps.items()]
    if work and not work[0].ended:
        context.afterwards.append(partial(_stragglers, run, work[0], reports))
    report = _gathered(run, reports)
    if not run.dry_run:
        context.runs.save(report)
    return report


def _backup(run: StepRun, request: Request, work: list[Backup]) -> Report:
    """Until all hosts have ended, or the window has; what goes on behind it is in `work`."""
    work.append(Backup(run.part("backup"), request))
    return work[0].within(run.context.config.window or inf)


def _stragglers(run: StepRun, work: Backup, reports: list[Report]) -> Report:
    """Wait for who outlasted the window. Each end is recorded by a snapshot, and the last is sent off-site.

    Returns the night's report anew, with what became of all.
    """
    context, window = run.context, run.context.config.window
    later: list[Report] = []
    while not work.ended:
        work.advance()
        cancelled.wait(_TOGETHER)
        later.append(_telling(_unless_stopped(run, "snapshot", lambda: snapshot(run.part("snapshot")))))
    later.append(_unless_stopped(run, "replicate", lambda: replicate(run.part("replicate"))))
    whole = work.report(window)
    report = _gathered(run, [*(whole if one.command == "backup" else one for one in reports), *later])
    context.runs.save(report)
    return report


def _telling(report: Report) -> Report:
    """A snapshot between others: without the datasets of hosts that had no backup since the last one."""
    some = tuple(one for one in report.outcomes if _is_marked(one) or not one.status.good)
    return replace(report, outcomes=some)


def _is_marked(outcome: Outcome) -> bool:
    return isinstance(outcome.result, SnapshotTaken) and bool(outcome.result.state)


def _inventory(run: StepRun) -> Report:
    """Hosts that zborg.toml names no more: a night without them is no good night."""
    lost = vanished(run.context.config)
    return replace(run.planned((), lost) if run.dry_run else run.report(lost), command="inventory")


def _unless_stopped(run: StepRun, name: str, step: Callable[[], Report]) -> Report:
    """Every step reports its own failures. A bug in one must not keep the others from their work."""
    if cancelled.is_set():
        skipped = run.report([outcome_of("step", name, Interrupted("not started: interrupted"))])
        return replace(skipped, command=name)
    try:
        return step()
    except Exception as error:
        broken = run.report([outcome_of("step", name, error)])
        return replace(broken, command=name, exit=broken.exit if isinstance(error, OSError) else Exit.BUG)


def _gathered(run: StepRun, reports: list[Report]) -> Report:
    worst = max(reports, key=lambda report: _rank(report.exit))
    plan = [f"{report.command}: {line}" for report in reports for line in report.plan]
    outcomes = [outcome for report in reports for outcome in _named(report)]
    whole = run.report(outcomes, plan)
    parts = [report.status for report in reports]
    allowed = next((status for status in _ALLOWED if status in parts), Status.OK)
    return replace(whole, exit=worst.exit, status=worst.status if worst.exit else allowed)


def _rank(code: Exit) -> int:
    return _WORSE.index(code) if code in _WORSE else len(_WORSE)


def _named(report: Report) -> Iterator[Outcome]:
    for outcome in report.outcomes:
        yield outcome.noting(step=report.command)
