"""When each host was drilled last, and from where, by the run files: for the night, status and doctor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from zborg.config import Config
from zborg.model import Finding, Outcome, Status
from zborg.model.results import NOTHING, DrilledHost, DrillState
from zborg.model.text.remedy import command
from zborg.model.text.units import counted, duration
from zborg.planning.drill.due import STORAGE, Past, late
from zborg.planning.observe.health import due as due_by
from zborg.state.runs import Runs

KIND = "drill"
_FAR = 400  # runs that are looked through
_UNTRIED = (Status.BUSY, Status.INTERRUPTED, Status.PENDING)


@dataclass(frozen=True)
class Drills:
    """By host. `newest`: the last that says something of the host; `share`: the start of the last run."""

    pasts: dict[str, Past]
    newest: dict[str, Outcome]
    share: datetime | None


def names_of(config: Config) -> list[str]:
    """The hosts that have an agent."""
    return [host.name for host in config.hosts if not host.reverse]


def drills_of(config: Config, runs: Runs) -> Drills:
    """Of all hosts of zborg.toml with an agent."""
    pasts = {name: Past() for name in names_of(config)}
    newest: dict[str, Outcome] = {}
    share = None
    for report in islice(runs.newest_first(KIND), _FAR):
        share = share or report.started
        for one in report.outcomes:
            if one.kind != KIND or one.status in _UNTRIED or one.subject not in pasts:
                continue
            past = pasts[one.subject]
            newest.setdefault(one.subject, one)
            where = one.result.target if isinstance(one.result, DrilledHost) else STORAGE
            read = report.finished if one.status.good or one.status is Status.DAMAGED else None
            pasts[one.subject] = Past({where: report.finished} | dict(past.asked), past.read or read)
    return Drills(pasts, newest, share)


def shown(config: Config, runs: Runs, now: datetime, first: datetime | None) -> Iterator[Outcome]:
    """For `status`: how many hosts were drilled in time, the last drill, and each that is not well.

    Nothing where none was ever tried, unless one is overdue.
    """
    max_age, names = config.drill_max_age, names_of(config)
    found, report = drills_of(config, runs), runs.newest(KIND)
    if report is None:
        if config.drill_every and max_age and names and not due_by(first, max_age, now):
            yield Outcome("step", KIND, Status.WARNING, "never run", command("zborg", "drill"))
        return
    overdue = late(found.pasts, max_age, now)
    times = [past.read for past in found.pasts.values() if past.read]
    recent = len(names) - len(overdue)
    words = f"{recent} of {counted(len(names), 'host')} drilled"
    words += f" within {duration(max_age)}" if max_age else ""
    if times:
        words += f", the last {duration(max((now - max(times)).total_seconds(), 0))} ago"
    bad = [one for one in found.newest.values() if one.status not in (Status.OK, Status.SKIPPED)]
    bad += [one for one in report.outcomes if one.kind == "step" and one.status.bad]
    state = DrillState(
        run=report.run,
        finished=report.finished,
        exit=int(report.exit),
        drilled=recent,
        hosts=len(names),
        last=max(times, default=None),
    )
    yield Outcome("step", KIND, _worst([one.status for one in bad]), words, result=state)
    yield from (replace(one, result=NOTHING) for one in bad)
    named = {one.subject for one in bad}
    for finding in _overdue(config, found, overdue, first, now):
        if finding.subject not in named:
            yield Outcome(KIND, finding.subject, finding.level, finding.message, finding.remedy)


def findings(config: Config, runs: Runs, now: datetime, first: datetime | None) -> Iterator[Finding]:
    """For `doctor`: each host that had no drill within `drill_max_age`."""
    found = drills_of(config, runs)
    yield from _overdue(config, found, late(found.pasts, config.drill_max_age, now), first, now)


def _overdue(
    config: Config, found: Drills, names: tuple[str, ...], first: datetime | None, now: datetime
) -> Iterator[Finding]:
    """A host that had some and has none any more is an error; one that never had any, a warning.

    That is none where drills are turned off, nor before the server is in use for so long.
    """
    limit = duration(config.drill_max_age)
    for name in names:
        last, newest = found.pasts[name].read, found.newest.get(name)
        unused = first is None or due_by(first, config.drill_max_age, now) is not None
        if last is None and (unused or not (config.drill_every or newest)):
            continue
        ago = f"{duration((now - last).total_seconds())} ago" if last else "never"
        words = f"drilled {ago}; drill_max_age is {limit}"
        fix = command("zborg", "drill", name)
        if newest and newest.status is Status.SKIPPED:
            words, fix = f"{words}: {newest.message}", newest.remedy or fix
        yield Finding(name, Status.FAILED if last else Status.WARNING, words, fix)


def _worst(found: list[Status]) -> Status:
    if Status.DAMAGED in found:
        return Status.DAMAGED
    return Status.FAILED if any(one.bad for one in found) else Status.WARNING if found else Status.OK
