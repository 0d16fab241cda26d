"""What zborg.toml names against what it named before and what lies on the storage.

A host that gets lost (a drop-in, a bad merge) is missed until a person says that it is gone. On an off-site
(`received = true`) there are no hosts, and no dataset is an orphan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from zborg.config import Config
from zborg.model import Finding, Outcome, Report
from zborg.planning.inventory import orphan_finding, orphans, vanished_finding
from zborg.state.known import Known, Record
from zborg.state.runs import Runs, ended
from zborg.steps.run_queries import good_ends, removals

KIND = "vanished"


def known_hosts_of(config: Config) -> Known:
    """The record of hosts that this server has had."""
    return Known(config.state_dir / "known" / "hosts")


def known_targets_of(config: Config) -> Known:
    """The record of targets that this server has had."""
    return Known(config.state_dir / "known" / "targets")


def vanished(config: Config) -> list[Outcome]:
    """A warning for each host that was backed up and that zborg.toml names no more."""
    return [Outcome(KIND, one.subject, one.level, one.message, one.remedy) for one in _vanished(config)]


def _vanished(config: Config) -> Iterator[Finding]:
    if config.storage.received:
        return
    for one in known_hosts_of(config).missing([host.name for host in config.hosts]):
        if one.last_good or not one.first:  # never backed up: nothing is missed
            yield vanished_finding(one.name, one.last_good, str(config.path))


def orphans_of(config: Config, datasets: Iterable[str]) -> dict[str, str]:
    """By dataset the name that no host has any more."""
    if config.storage.received:
        return {}
    forgotten = known_hosts_of(config).forgotten()
    return orphans(config.storage.dataset, datasets, [host.name for host in config.hosts], forgotten)


def look(config: Config, datasets: Iterable[str]) -> Iterator[Finding]:
    """For doctor: lost hosts, and datasets of no host that was not named already."""
    lost = list(_vanished(config))
    yield from lost
    named = {one.subject for one in lost}
    for dataset, name in orphans_of(config, datasets).items():
        if name not in named:
            yield orphan_finding(name, dataset, str(config.path))


# --- keeping it up to date ------------------------------------------------------------------------------


class Remembering:
    """Called with every report that is saved. What goes wrong is a warning, once, and never an outcome."""

    def __init__(self, config: Config, runs: Runs, warn: Callable[[str], None]) -> None:
        self._config, self._runs, self._warn = config, runs, warn
        self._hosts, self._targets = known_hosts_of(config), known_targets_of(config)
        self._noted = self._failed = False
        self._good: dict[str, datetime] = {}

    def __call__(self, report: Report) -> None:
        """Note the hosts and targets of one report."""
        try:
            self._remember(report)
        except OSError as error:
            if not self._failed:
                self._warn(f"not remembered which hosts there are: {error}")
            self._failed = True

    def _remember(self, report: Report) -> None:
        names = {host.name for host in self._config.hosts}
        if not self._noted:
            if not self._hosts.begun:
                self._from_runs()
            for name in sorted(names - self._hosts.names()):
                self._hosts.seen(name, report.started)
            for target in self._config.targets:
                self._targets.seen(target.name, report.started)
            self._noted = True
        if report.command == "backup":
            for one in report.outcomes:
                if one.kind == "host" and one.status.good and one.subject in names:
                    self._was_good(one.subject, ended(report, one))

    def _was_good(self, name: str, at: datetime) -> None:
        """A fleet's report is saved with each host's end, and has all earlier ones again."""
        if self._good.get(name) != at:
            record = self._hosts.get(name) or Record(name, at)
            self._hosts.put(replace(record, last_good=at))
            self._good[name] = at

    def _from_runs(self) -> None:
        """Of a state directory that is older than these records."""
        found: dict[str, Record] = {}
        for name, at in good_ends(self._runs):
            known = found.get(name, Record(name, at, at))
            found[name] = replace(known, first=min(at, known.first or at))
        for record in found.values():
            self._hosts.put(record)
        for name, at in removals(self._runs):
            last = found[name].last_good if name in found else None
            if last and at >= last:
                self._hosts.forget(name)
