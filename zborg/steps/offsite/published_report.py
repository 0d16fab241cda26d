"""What an off-site's own zborg did last, left for the servers that send to it, and found by them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from zborg.errors import ZborgError
from zborg.model import Dataset, Outcome, Report, Target
from zborg.model.events import Warned
from zborg.model.storage.zfs import P_REPORT
from zborg.planning.offsite import published_report
from zborg.state.runs import Runs
from zborg.steps.context import StepRun
from zborg.steps.run_queries import last_published

KIND = published_report.KIND
_COMMANDS = ("rotate", "scrub", "verify", "witness")  # an off-site's night


def publish(run: StepRun, report: Report) -> Report:
    """The report as it is; on an off-site the last ones are left on its root. That it fails changes nothing
    of the step, and is a warning."""
    context, root = run.context, run.context.config.storage.dataset
    found = [context.runs.newest(command) for command in _COMMANDS]
    reports = [one for one in found if one]
    if context.config.storage.received and reports and not run.dry_run:
        try:
            context.storage.zfs.set([root], {P_REPORT: published_report.write(reports)})
        except ZborgError as error:
            context.emit(Warned(root, f"the servers will not see this report: {error.message}"))
    return report


def published(target: Target, copies: Sequence[Dataset], now: datetime) -> list[Outcome]:
    """At most one: a target need not have a zborg of its own."""
    texts = [one.properties.get(P_REPORT) for one in copies if one.name == target.dataset]
    return [published_report.outcome(target.name, text, target.max_age, now, now) for text in texts if text]


def published_last(target: Target, runs: Runs, now: datetime) -> list[Outcome]:
    """The same out of the last replication that heard something, with its age now."""
    left = last_published(runs, target.name)
    return [published_report.outcome(target.name, left.told, target.max_age, left.seen, now)] if left else []
