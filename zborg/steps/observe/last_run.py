"""A line of `status`: the last run of a step, with its age, and what was not well in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from zborg.model import Outcome, Report, Status
from zborg.model.results import NOTHING, Due, StepState
from zborg.model.text.units import duration, moment
from zborg.planning.observe.health import SKEW, due
from zborg.steps.context import conclude
from zborg.steps.run_queries import Found


@dataclass(frozen=True, slots=True)
class Limit:
    """How old the last of a step may be, in seconds, and since when it is asked for."""

    seconds: int
    first: datetime | None


def never(kind: str, subject: str, limit: Limit, command: str, now: datetime) -> Outcome:
    """What was never done: on a server's first day that is no failure."""
    if at := due(limit.first, limit.seconds, now):
        words = f"not run yet; due by {moment(at)}"
        return Outcome(kind, subject, Status.PENDING, words, result=Due(due=at))
    return Outcome(kind, subject, Status.FAILED, "never run", f"zborg {command}")


def shown(step: str, found: Found | None, limit: Limit, now: datetime) -> list[Outcome]:
    """The last of a step: in one line when all was well, else each that was not, too."""
    if found is None:
        return [never("step", step, limit, step, now)]
    report, outcomes = found
    age = (now - report.finished).total_seconds()
    odd = [one for one in outcomes if one.status not in (Status.OK, Status.SKIPPED)]
    status, message = conclude(outcomes)[0], f"{duration(age)} ago: {_words(outcomes)}"
    remedy = outcomes[0].remedy if len(outcomes) == 1 else ""
    if age > limit.seconds and not status.bad:
        status, remedy = Status.FAILED, f"zborg {step}"
        message = f"overdue: the limit is {duration(limit.seconds)}; {message}"
    if age < -SKEW:
        status, remedy = Status.FAILED, "date -u"
        message = (
            f"the last was at {moment(report.finished)}, which is still to come: the clock was or is wrong"
        )
    parts = [replace(one, kind=step, result=NOTHING) for one in odd if len(outcomes) > 1]
    return [Outcome("step", step, status, message, remedy, facts(report)), *parts]


def _words(outcomes: Sequence[Outcome]) -> str:
    """Of a single one its own words; of several how many were good, the others follow.

    A copy that was up to date then may be behind now, which is added after this.
    """
    if len(outcomes) == 1 and not (outcomes[0].kind == "replica" and outcomes[0].status is Status.OK):
        return outcomes[0].message
    good = sum(not one.status.bad for one in outcomes)
    return f"{good} of {len(outcomes)} good" if outcomes else "nothing to do"


def facts(report: Report) -> StepState:
    """Which run it was, and how that ended."""
    return StepState(run=report.run, finished=report.finished, exit=int(report.exit))
