"""status: the wall that stood around each host's last `borg serve`, as its backup reported it."""

from __future__ import annotations

from collections.abc import Mapping

from zborg.config import Config
from zborg.model import Outcome
from zborg.model.results import backup_of
from zborg.planning.backup.walls import walls
from zborg.state.runs import Runs

UNKNOWN = "unknown"
"""In place of `Wall.words`: the storage's zborg-serve is older than this zborg."""


def standing(config: Config, runs: Runs) -> list[Outcome]:
    """One outcome for all hosts; none where no backup of this version was made yet."""
    found: dict[str, str] = {}
    good: set[str] = set()
    for report in runs.newest_first("backup"):  # a failed one may not have come to serving
        for outcome in report.outcomes:
            if words := backup_of(outcome.result).wall:
                found.setdefault(outcome.subject, words)
            if outcome.status.good:
                good.add(outcome.subject)
        # A good one without it is of an older zborg, and so is all that came before it.
        if all(host.name in good or host.name in found for host in config.hosts):
            break
    return walls(_of(config, found))


def _of(config: Config, found: Mapping[str, str]) -> dict[str, str]:
    return {host.name: found[host.name] for host in config.hosts if host.name in found}
