"""status: what the last runs left, with its age; with `live` the pools are asked as well.

The saved facts cost no connection: the answer comes at once, also when the storage is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from zborg.config import Config
from zborg.model import Finding, Outcome, Report, Status
from zborg.model.words import duration
from zborg.planning.health import host_findings
from zborg.state.locks import Locks
from zborg.state.runs import Runs, ended, new_run
from zborg.steps.context import Context, inspect, nobody


def saved(config: Config, runs: Runs, locks: Locks, now: datetime) -> Report:
    """The report of the last saved facts. Exit 4 for an overdue host or a failed step, 13 for damage."""
    outcomes = [_at_work(host, locks) for host in _hosts(config, runs, now)] or [nobody(config)]
    outcomes += [*_last(runs, "snapshot", now), *_last(runs, "rotate", now)]
    if config.targets:
        outcomes += _last(runs, "replicate", now)
    outcomes += _last(runs, "scrub", now)
    return _report(config, now, outcomes)


def live(context: Context) -> Report:
    """The same, after asking every pool now."""
    from zborg.steps.scrub import scrub

    scrub(context)
    now = context.clock()
    return saved(context.config, context.runs, context.locks, now)


def _report(config: Config, now: datetime, outcomes: list[Outcome]) -> Report:
    status, code = inspect(outcomes)
    return Report("status", new_run(now), config.name, now, now, status, code, tuple(outcomes))


def _hosts(config: Config, runs: Runs, now: datetime) -> Iterator[Outcome]:
    """One outcome per host: its last good backup against its max_age."""
    good, newest = _last_good(config, runs)
    ages = {name: ended for name, (ended, _) in good.items()}
    limits = {host.name: host.max_age for host in config.hosts}
    for finding in host_findings(ages, limits, now):
        numbers = good[finding.subject][1].data if finding.subject in good else {}
        yield _host(finding, numbers, newest.get(finding.subject))


def _host(finding: Finding, numbers: Any, newest: Outcome | None) -> Outcome:
    message = finding.message
    level = finding.level
    if newest and newest.status.bad:
        message += f"; the last try {newest.status.value}: {newest.message}"
        level = Status.WARNING if level is Status.OK else level
    remedy = "" if level is Status.OK else (newest.remedy if newest and newest.remedy else finding.remedy)
    return Outcome("host", finding.subject, level, message, remedy, numbers)


def _at_work(host: Outcome, locks: Locks) -> Outcome:
    """Whoever looks in the middle of the night sees that it is going on."""
    owner = locks.owner(f"host-{host.subject}")
    if owner is None:
        return host
    words = f"{host.message}; at work since {owner.since}: {owner.command} (pid {owner.pid})"
    return replace(host, message=words, data={**host.data, "running": owner.since})


def _last_good(config: Config, runs: Runs) -> tuple[dict[str, tuple[datetime, Outcome]], dict[str, Outcome]]:
    """Per host its newest good outcome with its time, and its newest outcome of any kind."""
    good: dict[str, tuple[datetime, Outcome]] = {}
    newest: dict[str, Outcome] = {}
    for report in runs.newest_first("backup"):
        for outcome in report.outcomes:
            newest.setdefault(outcome.subject, outcome)
            if outcome.status.good:
                good.setdefault(outcome.subject, (ended(report, outcome), outcome))
        if all(host.name in good for host in config.hosts):
            break
    return good, newest


def _last(runs: Runs, command: str, now: datetime) -> list[Outcome]:
    """The last report of a step: in one line when all was well, else each bad outcome."""
    report = runs.newest(command)
    if report is None:
        return [Outcome("step", command, Status.WARNING, "never run", f"zborg {command}")]
    age = f"{duration((now - report.finished).total_seconds())} ago"
    bad = [one for one in report.outcomes if one.status.bad]
    told = [replace(one, subject=one.subject, kind=command, data={}) for one in bad]
    count = (
        f"{len(report.outcomes) - len(bad)} of {len(report.outcomes)} good"
        if report.outcomes
        else "nothing to do"
    )
    words = report.outcomes[0].message if len(report.outcomes) == 1 and not bad else count
    return [Outcome("step", command, report.status, f"{age}: {words}", data=_facts(report)), *told]


def _facts(report: Report) -> dict[str, Any]:
    return {"run": report.run, "finished": f"{report.finished:%Y-%m-%dT%H:%M:%SZ}", "exit": int(report.exit)}
