"""host list, host test: looking at the hosts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from zborg.borg.storage.repository import repository_id
from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Dataset, Host, Outcome, Report, Status
from zborg.model.events import Finished, Started
from zborg.model.results import ListedHost, TestedHost
from zborg.model.text.units import duration
from zborg.planning.hosts.agent_version import answer_of, clock_of, judge
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, new_run
from zborg.steps.context import Context, StepRun, inspect, nobody, outcome_of, select_hosts
from zborg.steps.hosts.enrol import escrow_of
from zborg.steps.inventory import vanished
from zborg.steps.run_queries import last_backups


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
    with ThreadPoolExecutor(max_workers=context.config.parallel) as pool:
        outcomes = list(pool.map(lambda host: _tested(run, host, datasets), hosts))
    return run.report(outcomes or [nobody(context.config)], rule=inspect)


def _tested(run: StepRun, host: Host, datasets: dict[str, Dataset]) -> Outcome:
    context = run.context
    if host.reverse:
        words = "its forced command is borgmatic: a backup tries it, nothing less can"
        return Outcome("host", host.name, Status.SKIPPED, words)
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
    except Exception as error:
        outcome = outcome_of("host", host.name, error)
    context.emit(Finished(host.name))
    return outcome


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
