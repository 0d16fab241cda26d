"""A host says that it cannot be backed up now; how long that is believed. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from zborg.model import Host, Outcome, Status
from zborg.model.text.remedy import command, on
from zborg.model.text.units import duration

_RULES = command("sed", "-n", "-E", "/^(min_interval|allowed_hours) /p", "/etc/zborg/agent.conf")
_PROCESSES = command("ps", "-eo", "pid,lstart,args")


def judged(host: Host, outcome: Outcome, since: datetime | None, now: datetime) -> Outcome:
    """A failure in place of "not now" or "busy" once the host's `max_age` has passed without a good backup.

    `since` is the end of the last good one, of a host without one its first try; None when this is the
    first. A lock that another run of zborg holds is not the host's answer and does not come here.
    """
    if outcome.status not in (Status.SKIPPED, Status.BUSY) or since is None:
        return outcome
    age = (now - since).total_seconds()
    if age <= host.max_age:
        return outcome
    limit = f"the limit (max_age) is {duration(host.max_age)}"
    message = f"no good backup of {host.name} for {duration(age)}, {limit}; it answers: {outcome.message}"
    look = _RULES if outcome.status is Status.SKIPPED else _PROCESSES
    return replace(outcome, status=Status.FAILED, message=message, remedy=on(host.name, look))
