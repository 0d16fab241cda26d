"""status: what the last runs left, with its age; with `live` the pools are asked as well.

The saved facts cost no connection: the answer comes at once, also when the storage is down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from zborg.config import Config
from zborg.model import NOTIFYING, Finding, Outcome, Report, Scrub, Status, Target
from zborg.model.results import (
    NOTHING,
    Frozen,
    HostState,
    Result,
    Rotated,
    StepState,
    TargetState,
    backup_of,
)
from zborg.model.subjects import OnTarget, is_of
from zborg.model.text.units import counted, duration, size
from zborg.planning.backup.schedule import typical
from zborg.planning.observe.health import host_findings
from zborg.state.frozen import Freeze
from zborg.state.locks import Locks
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, new_run
from zborg.steps.backup.walls import standing
from zborg.steps.compact.known import unfinished
from zborg.steps.context import Context, inspect, nobody
from zborg.steps.drill.last import shown as drills
from zborg.steps.escrow.overdue import outcomes as unproved
from zborg.steps.inventory import known_hosts_of, known_targets_of, vanished
from zborg.steps.ledger.begun import is_begun
from zborg.steps.observe.by_host import audited, compacted, first_of
from zborg.steps.observe.last_run import Limit, never, shown
from zborg.steps.offsite.arrivals import KIND, again
from zborg.steps.offsite.published_report import KIND as PUBLISHED
from zborg.steps.offsite.published_report import published_last
from zborg.steps.replicate.lag import Lag, lag_of
from zborg.steps.restore.interrupted import killed_restores
from zborg.steps.rotate.freeze import describe, how_to_release
from zborg.steps.run_queries import Found, last_backups, newest_about
from zborg.steps.scrub import judged, pool_of_result, verified
from zborg.steps.verify.last import shown as verifications

_DAYS = timedelta(days=7)  # what is usual
_FINE = (Status.OK, Status.SKIPPED)
_FEW = 3  # nights that make it usual


def saved(
    config: Config,
    runs: Runs,
    locks: Locks,
    now: datetime,
    frozen: Mapping[str, Freeze] | None = None,
    pools: Found | None = None,
) -> Report:
    """The report of the last saved facts, and of `pools` if they were asked just now.

    Exit 4 for what failed, is overdue or never was, 13 for damage.
    """
    seen = Moment(runs)
    first = seen.since()
    if config.storage.received:
        outcomes = [*_arrived(config, seen, now), *verifications(config, seen, now, first)]
        if witnessed := newest_about(seen, "witness"):
            outcomes += shown("ledger check", witnessed, Limit(config.snapshot_max_age, first), now)
    else:
        outcomes = [_at_work(host, locks) for host in _hosts(config, seen, now)] or [nobody(config)]
        outcomes += killed_restores(config, locks)
        outcomes += standing(config, seen)
        outcomes += vanished(config)
        snapshots = newest_about(seen, "snapshot")
        outcomes += shown("snapshot", snapshots, Limit(config.snapshot_max_age, first), now)
        if is_begun(config):
            outcomes += audited(config, seen, now, first)
            outcomes += compacted(config, seen, now)
            outcomes += unfinished(config, locks)
            outcomes += verifications(config, seen, now, first)
        outcomes += drills(config, seen, now, first)
        outcomes += unproved(config, now)
    if not config.keep.empty or config.storage.received:
        rotated = newest_about(seen, "rotate", partial(_is_open, config, {one.subject for one in outcomes}))
        outcomes += shown("rotate", rotated, Limit(config.snapshot_max_age, first), now)
    outcomes += [_frozen(freeze) for freeze in (frozen or {}).values()]
    for target in config.targets:
        about, limit = partial(_is_about, target.name), _limit_of(target, config, first)
        step, *odd = shown(f"replicate {target.name}", newest_about(seen, "replicate", about), limit, now)
        outcomes += [
            _behind(step, lag_of(seen, config.storage.dataset, target, now)),
            *odd,
            *published_last(target, seen, now),
        ]
    scrubs = _aged_all(config, pools or newest_about(seen, "scrub"), now)
    step, *_ = shown("scrub", scrubs, Limit(config.scrub_max_age, first), now)
    outcomes += [step, *(_pool(one) for one in (scrubs[1] if scrubs else ()))]
    outcomes += _untold(seen, now) if config.notify.anybody else []
    return _report(config, now, outcomes)


def _untold(runs: Runs, now: datetime) -> list[Outcome]:
    """Who did not get the last message: a dead notifier would go unnoticed otherwise."""
    report = runs.newest(NOTIFYING)
    if report is None:
        return []
    ago = f"not sent {duration((now - report.finished).total_seconds())} ago"
    lost = [one for one in report.outcomes if one.status.bad]
    return [
        replace(one, status=Status.WARNING, message=f"{ago}: {one.message}", result=NOTHING) for one in lost
    ]


def _arrived(config: Config, runs: Runs, now: datetime) -> Iterator[Outcome]:
    """What the last rotation saw of it, judged again."""
    found = newest_about(runs, "rotate", lambda one: one.kind == KIND)
    if found is None:
        yield never(KIND, config.storage.dataset, Limit(config.snapshot_max_age, runs.since()), "rotate", now)
    for one in found[1] if found else ():
        yield again(one, config, runs.since(), now)


def _limit_of(target: Target, config: Config, first: datetime | None) -> Limit:
    """A target may be newer than the server."""
    known = known_targets_of(config).get(target.name)
    return Limit(target.max_age, known.first if known and known.first else first)


def _is_open(config: Config, named: Collection[str], outcome: Outcome) -> bool:
    """An orphan of the last rotation is reported until the host is back, forgotten, or named by itself."""
    name = outcome.result.orphan if isinstance(outcome.result, Rotated) else ""
    settled = name in named or name in known_hosts_of(config).forgotten() if name else False
    return outcome.kind != KIND and not settled


def live(context: Context) -> Report:
    """The same, after asking every pool now. Nothing is saved: a monitor may ask every minute."""
    asked = verified(context)
    frozen = context.frozen.now()
    pools = (asked, list(asked.outcomes))
    return saved(context.config, context.runs, context.locks, context.clock(), frozen, pools)


def _behind(step: Outcome, lag: Lag | None) -> Outcome:
    if lag is None or not isinstance(step.result, StepState):
        return step
    ran: dict[str, Any] = vars(step.result)
    result = TargetState(**ran, behind=lag.datasets, lag=lag.seconds, lag_bytes=lag.bytes)
    return replace(step, message=f"{step.message}; {lag}", result=result)


def _pool(seen: Outcome) -> Outcome:
    """With what it holds before what was found."""
    pool = pool_of_result(OnTarget.parse(seen.subject).name, seen.result)
    if pool is None or not pool.size:
        return seen
    words = f"{pool.health}, {1 - pool.free / pool.size:.0%} of {size(pool.size)} used"
    return replace(seen, message=f"{words}; {seen.message}")


def _frozen(freeze: Freeze) -> Outcome:
    return Outcome(
        "rotate", freeze.host, Status.WARNING, describe(freeze), how_to_release(freeze), Frozen(frozen=True)
    )


def _report(config: Config, now: datetime, outcomes: list[Outcome]) -> Report:
    status, code = inspect(outcomes)
    return Report("status", new_run(now), config.name, now, now, status, code, tuple(outcomes))


def _hosts(config: Config, runs: Moment, now: datetime) -> Iterator[Outcome]:
    """One outcome per host: its last good backup against its max_age."""
    last = last_backups(config, runs)
    good, newest = last.good, last.newest
    usual = _usual(runs, now)
    ages = {name: ended for name, (ended, _) in good.items()}
    limits = {host.name: host.max_age for host in config.hosts}
    untried = [name for name in limits if name not in good and name not in newest]
    first = {name: first_of(config, runs, name) for name in untried}
    for finding in host_findings(ages, limits, first, now):
        name = finding.subject
        outcome = _host(finding, good[name][1].result if name in good else NOTHING, newest.get(name))
        seconds, new_bytes = usual.get(name, (None, None))
        numbers: dict[str, Any] = vars(backup_of(outcome.result))
        state = HostState(
            **numbers,
            max_age=limits[name],
            usual_seconds=seconds,
            usual_new_bytes=new_bytes,
            last_good=ages.get(name),
            age=int((now - ages[name]).total_seconds()) if name in good else None,
        )
        yield replace(outcome, result=state)


def _usual(runs: Moment, now: datetime) -> dict[str, tuple[float | None, float | None]]:
    """By host the seconds that its good backups of the last days took, and the bytes that they added."""
    found = {}
    for name, some in runs.hosts_since("backup", now - _DAYS).items():
        good = [backup_of(one.result) for _, one in some if one.status.good]
        found[name] = _median(one.seconds for one in good), _median(one.new_bytes for one in good)
    return found


def _median(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return typical(known) if len(known) >= _FEW else None


def _host(finding: Finding, numbers: Result, newest: Outcome | None) -> Outcome:
    message = finding.message
    level = finding.level
    if newest and newest.status.bad:
        output = "" if newest.message == newest.status.value else f": {newest.message}"
        message += f"; the last try {newest.status.value}{output}"
        level = _graver(level, newest.status)
        numbers = NOTHING  # they are of an older run, and would read as if they were of this one
    elif level is Status.OK and newest and (doubt := _doubt(newest)):
        message, level = f"{message}, but {doubt}", Status.WARNING
    remedy = (
        ""
        if level in (Status.OK, Status.PENDING)
        else (newest.remedy if newest and newest.remedy else finding.remedy)
    )
    return Outcome("host", finding.subject, level, message, remedy, numbers)


def _doubt(newest: Outcome) -> str:
    """What is not as it should be with a good backup, for as long as the newest has it."""
    made = backup_of(newest.result)
    missing = f"{counted(made.unread, 'file')} could not be read" if made.unread > 0 else ""
    return "; ".join(filter(None, (made.doubt, missing)))


def _graver(level: Status, last: Status) -> Status:
    """A failed try among young good ones is a warning; an alarm or damage is one at once."""
    if last in (Status.CONFLICT, Status.DAMAGED):
        return last
    return Status.WARNING if level is Status.OK else level


def _at_work(host: Outcome, locks: Locks) -> Outcome:
    """One who looks in the middle of the night sees that it is going on."""
    owner = locks.owner(f"host-{host.subject}")
    if owner is None:
        return host
    words = f"{host.message}; at work since {owner.since}: {owner.command} (pid {owner.pid})"
    result = backup_of(host.result).replace(running=owner.since)
    return replace(host, message=words, result=result)


def _is_about(target: str, outcome: Outcome) -> bool:
    """Outcomes of a target, of its datasets, and of a step that could not begin."""
    named = is_of(target, outcome.subject) and outcome.kind != PUBLISHED
    return outcome.kind == "step" or named


def _aged_all(config: Config, found: Found | None, now: datetime) -> Found | None:
    """The pools as they were seen last, each judged by how old its scrub has become meanwhile."""
    if found is None:
        return None
    report, pools = found
    return report, [_aged(pool, config, now) for pool in pools]


def _aged(seen: Outcome, config: Config, now: datetime) -> Outcome:
    """Judged afresh; a scrub that was running then is not asked how far it came."""
    pool = pool_of_result(OnTarget.parse(seen.subject).name, seen.result)
    return judged(seen.subject, pool, config, now) if pool and pool.scrub is not Scrub.RUNNING else seen
