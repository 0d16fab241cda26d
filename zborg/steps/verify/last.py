"""When each host's repository was verified last, by the run files: for tonight's share, and for `status`.

They are there already, and a lost one only means that its hosts are read again earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from zborg.config import Config
from zborg.model import Outcome, Status
from zborg.model.results import NOTHING, Due, VerifyState
from zborg.model.text.units import counted, duration, moment
from zborg.planning.observe.health import due as due_by
from zborg.state.runs import Runs

KIND = "verify"
_FAR = 1000  # runs that are looked through
_GRACE = 3 * 86400  # seconds; a server that was off for a night or two is no reason
_UNTRIED = (Status.SKIPPED, Status.BUSY, Status.INTERRUPTED, Status.PENDING)


@dataclass(frozen=True)
class Last:
    """By host: `tried` whatever came of it, `read` when it was good or damaged. `share`: the last run."""

    tried: dict[str, datetime]
    read: dict[str, tuple[datetime, Outcome]]
    newest: dict[str, Outcome]  # whatever it was, but for what says nothing of the host
    share: datetime | None


def last_of(runs: Runs, names: Collection[str] | None = None) -> Last:
    """Of these hosts; None: of all that are in the run files."""
    found = Last({}, {}, {}, None)
    share = None
    for report in islice(runs.newest_first("verify"), _FAR):
        share = share or report.started
        for one in report.outcomes:
            if one.kind != KIND or one.status in _UNTRIED or names is not None and one.subject not in names:
                continue
            found.tried.setdefault(one.subject, report.finished)
            found.newest.setdefault(one.subject, one)
            if one.status.good or one.status is Status.DAMAGED:
                found.read.setdefault(one.subject, (report.finished, one))
        if names is not None and set(names) <= found.read.keys():
            break
    return replace(found, share=share)


def shown(config: Config, runs: Runs, now: datetime, first: datetime | None) -> Iterator[Outcome]:
    """For `status`: how many are verified in time, and each that is not well."""
    every = config.verify_every
    names = None if config.storage.received else [host.name for host in config.hosts]
    last = last_of(runs, names)
    hosts = list(last.tried) if names is None else names
    report = runs.newest("verify")
    failed = [one for one in (report.outcomes if report else ()) if one.kind == "step" and one.status.bad]
    if not last.newest and not failed:
        if every and hosts:
            yield _never(every, first, now)
        return
    times = [last.read[name][0] for name in hosts if name in last.read]
    oldest = min(times) if len(times) == len(hosts) else None
    since = now - timedelta(seconds=every + _GRACE)
    late = [name for name in hosts if _is_late(last, name, since, first)] if every else []
    recent = sum(at >= now - timedelta(seconds=every) for at in times) if every else len(times)
    ended = report.finished if report else now
    words = f"{recent} of {counted(len(hosts), 'host')} verified"
    words += f" within {duration(every)}" if every else ""
    if oldest:
        words += f", the longest ago {duration(max((now - oldest).total_seconds(), 0))} ago"
    bad = [one for one in last.newest.values() if one.subject in hosts and one.status is not Status.OK]
    bad += failed
    status = Status.OK
    if late:
        status = Status.FAILED
        words = f"overdue: {', '.join(late[:5])}{' and more' if len(late) > 5 else ''}; {words}"
    if any(one.status is Status.DAMAGED for one in bad):
        status = Status.DAMAGED
    elif any(one.status.bad for one in bad):
        status = Status.FAILED
    state = VerifyState(
        run=report.run if report else "",
        finished=ended,
        exit=int(report.exit) if report else None,
        hosts=len(hosts),
        verified=recent,
        oldest=oldest,
    )
    yield Outcome("step", KIND, status, words, "zborg verify" if late else "", state)
    yield from (replace(one, result=NOTHING) for one in bad)


def _is_late(last: Last, name: str, since: datetime, first: datetime | None) -> bool:
    """One that was never read is late when this server is in use for so long."""
    if name in last.read:
        return last.read[name][0] < since
    return first is not None and first < since


def _never(every: int, first: datetime | None, now: datetime) -> Outcome:
    if at := due_by(first, every + _GRACE, now):
        words = f"not run yet; due by {moment(at)}"
        return Outcome("step", KIND, Status.PENDING, words, result=Due(due=at))
    return Outcome("step", KIND, Status.FAILED, "never run", "zborg verify")
