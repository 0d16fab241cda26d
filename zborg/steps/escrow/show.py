"""escrow status and escrow show: how each host's key is sealed, and when that was proved last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zborg.errors import ZborgError
from zborg.model import Outcome, Report, Status
from zborg.model.text.remedy import command, remedy
from zborg.planning.escrow.due import KeyFacts, standing
from zborg.steps.context import StepRun, inspect, nobody, reporting, select_hosts
from zborg.steps.escrow.facts import KIND, escrow_of, key_facts, no_agent, repositories, sealed_key


@reporting
def status(run: StepRun, names: Sequence[str] = ()) -> Report:
    """One outcome for each host; reads, and changes nothing. Raises UsageError for an unknown host."""
    context, config = run.context, run.context.config
    hosts = select_hosts(config, names)
    unseen: Outcome | None = None
    ids: dict[str, str] = {}
    try:
        ids = dict(repositories(context, [host for host in hosts if not host.reverse]).ids)
    except ZborgError as error:  # what is here can be shown all the same
        unseen = Outcome(KIND, config.storage.dataset, Status.FAILED, error.message, error.remedy)
    found = [
        no_agent(host)
        if host.reverse
        else _outcome(run, replace(key_facts(config, host.name), repository=ids.get(host.name)))
        for host in hosts
    ]
    return run.report([*([unseen] if unseen else []), *found] or [nobody(config)], rule=inspect)


def _outcome(run: StepRun, facts: KeyFacts) -> Outcome:
    config = run.context.config
    judged = standing(facts, config.prove_every, run.context.clock())
    return Outcome(KIND, facts.host, judged.level, judged.message, judged.remedy, sealed_key(config, facts))


@reporting
def show(run: StepRun, host: str) -> Report:
    """The same of one host, with how a custodian opens it by hand."""
    report = status(run, [host])
    path = escrow_of(run.context.config).path(host)
    outcomes = [
        replace(
            one,
            remedy=remedy(command("age", "--decrypt", "--identity", "key.txt", path.name), first=_BY_HAND),
        )
        if one.subject == host and not one.remedy and path.exists()
        else one
        for one in report.outcomes
    ]
    return run.report(outcomes, rule=inspect)


_BY_HAND = "a custodian who has a copy of the file, and a secret key in key.txt, opens it with:"
