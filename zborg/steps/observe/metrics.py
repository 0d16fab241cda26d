"""metrics: what `zborg status` and the last runs show, as a textfile for node_exporter."""

from __future__ import annotations

from collections.abc import Iterator

from zborg import atomic
from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import ANNOUNCED, Target
from zborg.reporting.metrics import Backups, Copies, Facts, text
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs
from zborg.steps.compact.known import compactions
from zborg.steps.context import Context
from zborg.steps.observe.status import saved
from zborg.steps.run_queries import last_backups, last_replication
from zborg.steps.verify.last import last_of


def publish(context: Context) -> Iterator[ZborgError]:
    """Write the textfile that zborg.toml names; yields why it could not."""
    path = context.config.metrics
    if path is None:
        return
    try:
        atomic.write(path, text(facts(context)), atomic.FOR_ALL)  # node_exporter is another user
    except OSError as error:
        words = f"metrics: {path} cannot be written: {error.strerror}"
        yield ZborgError(
            words, "textfile under [metrics] names it; its folder is node_exporter's, and must be there"
        )


def facts(context: Context) -> Facts:
    """What the textfile is made of, by what was saved."""
    config, runs, now = context.config, context.runs, context.clock()
    newest = [runs.newest(command) for command in ANNOUNCED]
    scrub = runs.newest("scrub")
    return Facts(
        now=now,
        status=saved(config, runs, context.locks, now, context.frozen.now()),
        hosts=dict(_hosts(config, Moment(runs))),
        targets={target.name: _target(target, runs) for target in config.targets},
        last=[report for report in newest if report],
        verified=last_of(runs, [host.name for host in config.hosts]).read,
        storage=config.storage.dataset,
        compactions=compactions(config),
        pools=[one for one in scrub.outcomes if one.kind == "pool"] if scrub else [],
    )


def _hosts(config: Config, runs: Moment) -> Iterator[tuple[str, Backups]]:
    last = last_backups(config, runs)
    for host in config.hosts:
        yield host.name, Backups(host.max_age, last.good.get(host.name), last.newest.get(host.name))


def _target(target: Target, runs: Runs) -> Copies:
    last = last_replication(runs, target.name)
    return Copies(target.max_age, last.good, last.sent)
