"""Rotation frozen by an alarm: a host's snapshots may be all that is left of a good history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from zborg.errors import UsageError
from zborg.model import Outcome, Report, Status
from zborg.model.results import backup_of
from zborg.model.text.units import moment, printable
from zborg.state.frozen import Freeze
from zborg.steps.context import StepRun, select_hosts
from zborg.steps.inventory import known_hosts_of
from zborg.steps.run_queries import last_rotation

_ALARMS = (Status.CONFLICT, Status.DAMAGED)
_LONGEST = 300  # characters of a reason: it is another machine's word


def alarmed(run: StepRun) -> dict[str, Freeze]:
    """All hosts that are frozen, and those to be frozen since the last rotation: their backup ended in a
    conflict or found damage, after whatever freeze was released by hand."""
    context = run.context
    found = dict(context.frozen.now())
    for host, outcomes in context.runs.outcomes_since("backup", last_rotation(context.runs)).items():
        before = context.frozen.get(host)
        for outcome in outcomes:
            at = backup_of(outcome.result).finished
            done_with = before and before.released and at and at <= before.released
            if outcome.status in _ALARMS and not done_with and host not in found:
                reason = printable(outcome.message)[:_LONGEST]
                found[host] = Freeze(
                    host, f"its backup ended in {outcome.status}: {reason}", at or run.started
                )
    return found


def keep(run: StepRun, frozen: Mapping[str, Freeze]) -> None:
    """Write down the new ones, before anything is destroyed."""
    known = run.context.frozen.now()
    for host, freeze in frozen.items():
        if host not in known:
            run.context.frozen.put(freeze)


def describe(freeze: Freeze) -> str:
    """Since when and why, for a report."""
    since = f" since {moment(freeze.since)}" if freeze.since else ""
    return f"rotation is frozen{since}: {freeze.reason}"


def how_to_release(freeze: Freeze) -> str:
    """The remedy of a frozen host."""
    return f"look into it; once it is clear: zborg rotate --release {freeze.host}"


def release(run: StepRun, names: Sequence[str]) -> Report:
    """Let the hosts' snapshots be rotated again. Raises UsageError for one that is not frozen."""
    context, frozen = run.context, run.context.frozen.now()
    # One that is frozen may have left the configuration since.
    select_hosts(context.config, [name for name in names if name not in frozen])
    if warm := [name for name in names if name not in frozen]:
        raise UsageError(f"not frozen: {', '.join(warm)}", "zborg status")
    return run.report(list(_released(run, [frozen[name] for name in dict.fromkeys(names)])))


def _released(run: StepRun, freezes: Sequence[Freeze]) -> Iterator[Outcome]:
    for freeze in freezes:
        run.context.frozen.put(replace(freeze, released=run.context.clock()))
        yield Outcome("host", freeze.host, Status.OK, f"released; it was frozen: {freeze.reason}")


def freeze(run: StepRun, names: Sequence[str]) -> Report:
    """Freeze by hand, in the middle of an incident. What is frozen already keeps its reason."""
    context = run.context
    known = known_hosts_of(context.config)
    # One whose data stays may have left the configuration.
    select_hosts(context.config, [name for name in names if known.get(name) is None])
    frozen = context.frozen.now()
    for name in names:
        if name not in frozen:
            context.frozen.put(Freeze(name, "by hand", run.started))
    return run.report([Outcome("host", name, Status.OK, "frozen") for name in names])
