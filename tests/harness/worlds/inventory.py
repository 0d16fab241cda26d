"""Nights of hosts as they are saved, and what status says of them."""

from __future__ import annotations

from tests.harness.worlds.steps import Hours
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.state.runs import new_run
from zborg.steps.context import Context
from zborg.steps.observe.status import saved


def good(context: Context, clock: Hours, *names: str, status: Status = Status.OK) -> None:
    """A night's backup of these hosts, as it is saved."""
    outcomes = tuple(Outcome("host", name, status) for name in names)
    now = clock.now
    context.runs.save(Report("backup", new_run(now), "test", now, now, Status.OK, Exit.OK, outcomes))


def status(context: Context, clock: Hours) -> Report:
    return saved(context.config, context.runs, context.locks, clock.now)
