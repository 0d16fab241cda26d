"""escrow reseal: a host seals its key anew, for those whom its own root has named as custodians."""

from __future__ import annotations

from collections.abc import Sequence

from zborg.errors import Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Host, Outcome, Report, Status
from zborg.model.escrow.sealed import recipients
from zborg.model.events import Finished, Started
from zborg.model.text.remedy import on
from zborg.model.text.units import counted
from zborg.steps.context import StepRun, nobody, outcome_of, recording, select_hosts
from zborg.steps.escrow.facts import (
    KIND,
    LOCK,
    Repositories,
    escrow_of,
    key_facts,
    no_agent,
    repositories,
    repository_of,
    sealed_key,
)


@recording
def reseal(run: StepRun, names: Sequence[str] = ()) -> Report:
    """Every named host, none named: all. What was sealed before stays. Raises UsageError."""
    context = run.context
    hosts = select_hosts(context.config, names)
    if run.dry_run:
        return run.planned(f"let {host.name} seal its key anew" for host in hosts if not host.reverse)
    with context.locks.hold(LOCK):
        seen = repositories(context, [host for host in hosts if not host.reverse])
        return run.report([_one(run, seen, host) for host in hosts] or [nobody(context.config)])


def _one(run: StepRun, seen: Repositories, host: Host) -> Outcome:
    """One host, whatever happens to it, as an outcome."""
    if host.reverse:
        return no_agent(host)
    if cancelled.is_set():
        return outcome_of(KIND, host.name, Interrupted("not asked: interrupted"))
    emit = run.context.emit
    emit(Started(host.name, "asked"))
    try:
        return _sealed(run, seen, host)
    except Exception as error:
        return outcome_of(KIND, host.name, error)
    finally:
        emit(Finished(host.name))


def _sealed(run: StepRun, seen: Repositories, host: Host) -> Outcome:
    context, config = run.context, run.context.config
    _, repository = repository_of(seen, context, host)
    text = context.tunnel.ask(host, "escrow")
    try:
        count = recipients(text)
    except ValueError as error:  # what is sealed here already is not replaced by it
        fix = on(host.name, "/usr/local/libexec/zborg-agent --seal")
        raise ZborgError(f"the host sent no sealed key: {error}", fix) from error
    path = escrow_of(config).keep(host.name, repository, text, context.clock())
    words = f"sealed for {counted(count, 'custodian')} in {path}: nobody has proved this one yet"
    return Outcome(KIND, host.name, Status.OK, words, result=sealed_key(config, key_facts(config, host.name)))
