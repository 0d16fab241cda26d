"""host list, host test: looking at the hosts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from zborg.borg.storage.repository import repository_id
from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Dataset, Host, Outcome, Report, Status
from zborg.model.events import Finished, Started
from zborg.model.machines import LEDGER
from zborg.model.results import HostLedger, ListedHost, TestedHost
from zborg.model.text.units import duration
from zborg.planning.hosts.agent_version import answer_of, clock_of, judge
from zborg.planning.ledger.check import check
from zborg.state.ledger import key
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, new_run
from zborg.steps.context import Context, StepRun, inspect, nobody, outcome_of, select_hosts
from zborg.steps.escrow.facts import escrow_of
from zborg.steps.inventory import vanished
from zborg.steps.ledger import hosts as ledger_hosts
from zborg.steps.ledger.begun import is_begun
from zborg.steps.ledger.check import own_ledger
from zborg.steps.ledger.hosts import Answer
from zborg.steps.run_queries import last_backups

_GRAVITY = (Status.SKIPPED, Status.OK, Status.WARNING, Status.FAILED, Status.CONFLICT, Status.DAMAGED)


def list_hosts(config: Config, runs: Runs, now: datetime) -> Report:
    """Every host with its address, its dataset and its last good backup, as the saved facts have it."""
    good = {name: at for name, (at, _) in last_backups(config, Moment(runs)).good.items()}
    outcomes = [_listed(config, host, good.get(host.name), now) for host in config.hosts]
    outcomes = (outcomes or [nobody(config)]) + vanished(config)
    status, code = inspect(outcomes)
    return Report("host list", new_run(now), config.name, now, now, status, code, tuple(outcomes))


def _listed(config: Config, host: Host, good: datetime | None, now: datetime) -> Outcome:
    dataset = config.storage.dataset_of(host.name)
    age = f"last good {duration((now - good).total_seconds())} ago" if good else "never good yet"
    result = ListedHost(
        address=str(host.endpoint), dataset=dataset, last_good=good, identity=host.endpoint.identity
    )
    return Outcome("host", host.name, Status.OK, f"{host.endpoint}, {dataset}, {age}", result=result)


def reach_hosts(run: StepRun, names: Sequence[str]) -> Report:
    """Reach each host through the real way, and start a `borg serve` for it; several at once."""
    context = run.context
    hosts = select_hosts(context.config, names)
    try:
        datasets = {one.name: one for one in context.storage.zfs.datasets(context.config.storage.dataset)}
    except ZborgError as error:
        return run.report([outcome_of("step", "host test", error)], rule=inspect)
    with ThreadPoolExecutor(max_workers=context.config.asked_at_once) as pool:
        tested = list(pool.map(lambda host: _tested(run, host, datasets), hosts))
    outcomes = _witnessing(context, tested)
    return run.report(outcomes or [nobody(context.config)], rule=inspect)


@dataclass(frozen=True)
class _Tested:
    """A host's outcome, and what it has of the ledger where its agent keeps that."""

    outcome: Outcome
    answer: Answer | None = None


def _tested(run: StepRun, host: Host, datasets: dict[str, Dataset]) -> _Tested:
    context = run.context
    if host.reverse:
        words = "its forced command is borgmatic: a backup tries it, nothing less can"
        return _Tested(Outcome("host", host.name, Status.SKIPPED, words))
    context.emit(Started(host.name, "asked"))
    try:
        answer = answer_of(context.tunnel.ask(host, "version"))
        context.tunnel.try_serve(host.name)
        now = context.clock()
        sealed = _is_sealed(context, host, datasets)
        found = judge(host, answer, now, escrow=bool(context.config.custodians), sealed=sealed)
        result = TestedHost(
            agent=answer.get("agent", ""),
            borg=answer.get("borg", ""),
            alarm=answer.get("alarm", ""),
            escrow=answer.get("escrow", ""),
            initialised=answer.get("initialised", ""),
            opens=answer.get("opens", ""),
            clock=clock_of(answer),
            sealed=sealed,
        )
        outcome = Outcome("host", host.name, found.level, found.message, found.remedy, result)
        given = ledger_hosts.one(context, host) if answer.get("witness", "none") != "none" else None
        tested = _Tested(outcome, given)
    except Exception as error:
        tested = _Tested(outcome_of("host", host.name, error))
    context.emit(Finished(host.name))
    return tested


def _witnessing(context: Context, tested: Sequence[_Tested]) -> list[Outcome]:
    """With how many entries of the ledger each is a witness of, and whether they are still the same."""
    answers = [one.answer for one in tested if one.answer and not one.answer.failed]
    if not answers or not is_begun(context.config):
        return [_with_failure(one) for one in tested]
    try:
        ledger, _ = own_ledger(context)
    except ZborgError as error:
        return [
            *map(_with_failure, tested),
            replace(outcome_of("ledger", LEDGER, error), status=Status.WARNING),
        ]
    verify = cache(key.verify)
    found = {one.host: one for one in ledger_hosts.witnesses(answers, ledger.key, verify)}
    checked = check(ledger, [ledger_hosts.as_witness(one) for one in found.values()], verify)
    return [
        _compared(one.outcome, ledger_hosts.outcome(found[one.outcome.subject], checked))
        if one.outcome.subject in found
        else _with_failure(one)
        for one in tested
    ]


def _with_failure(tested: _Tested) -> Outcome:
    """That its checkpoints cannot be read is reported beside what else was found."""
    failed = tested.answer.failed if tested.answer else None
    return _beside(tested.outcome, replace(failed, status=Status.WARNING)) if failed else tested.outcome


def _compared(outcome: Outcome, word: Outcome) -> Outcome:
    made = _beside(outcome, word)
    covered = word.result.covered if isinstance(word.result, HostLedger) else None
    return made.noting(witnessed=covered) if isinstance(made.result, TestedHost) else made


def _beside(outcome: Outcome, word: Outcome) -> Outcome:
    """The graver of both decides; what failed is not hidden behind what is well."""
    if outcome.status.bad and word.status is Status.OK:
        return outcome
    words = f"{outcome.message}; {word.message}"
    graver = max((outcome, word), key=lambda one: _GRAVITY.index(one.status))
    return replace(outcome, status=graver.status, message=words, remedy=graver.remedy or outcome.remedy)


def _is_sealed(context: Context, host: Host, datasets: dict[str, Dataset]) -> bool:
    """Whether the key of the repository that is there now is in escrow here."""
    dataset = datasets.get(context.config.storage.dataset_of(host.name))
    if not dataset or not dataset.mounted or not dataset.mountpoint:
        return False
    try:
        repository = repository_id(context.storage.runner, dataset.mountpoint)
    except ZborgError:  # no repository yet
        return False
    return bool(repository) and escrow_of(context.config).is_sealed(host.name, repository)
