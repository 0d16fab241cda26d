"""What is known of the copies on targets: this server cannot read their disks, but their own zborg can."""

from __future__ import annotations

from datetime import datetime

from zborg.model import Outcome, Status, Target
from zborg.model.results import PublishedReport
from zborg.model.text.remedy import command, on
from zborg.model.text.units import duration
from zborg.planning.offsite.published_report import Summary, read
from zborg.state.runs import Runs
from zborg.steps.run_queries import last_published
from zborg.steps.verify.last import KIND


def reported(target: Target, runs: Runs, now: datetime) -> Outcome:
    """What the target's own zborg reported of its last verification, as the last replication read it."""
    again = on(target.name, command("zborg", "verify"))
    left, found = last_published(runs, target.name), summary_of(target, runs)
    if left is None or found is None:
        words = "its own zborg has reported no verification: its copies can only be read there"
        return Outcome(KIND, target.name, Status.FAILED, words, again)
    ago = duration(max((now - found.finished).total_seconds(), 0))
    more = f": {'; '.join(found.words)}" if found.words else ""
    words = f"by its own zborg's word: {found.status.value} {ago} ago{more}"
    bad = found.status.bad or found.status is Status.PARTIAL
    status = Status.FAILED if bad else Status.WARNING if found.status is Status.WARNING else Status.OK
    return Outcome(KIND, target.name, status, words, again if status is not Status.OK else "")


def summary_of(target: Target, runs: Runs) -> Summary | None:
    """Of its last verification; None where it has reported none."""
    left: PublishedReport | None = last_published(runs, target.name)
    try:
        summaries = read(left.told) if left else ()
    except ValueError:
        return None
    return next((one for one in summaries if one.command == KIND), None)
